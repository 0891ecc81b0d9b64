# One-time training: all agents, all frames, both tasks from scratch; as many epochs as TurboTrain
# (our choice).
stages = dict(
    joint=dict(config='configs/recipes/stages/joint_ma-mf_v2xpnp.py', epochs=45),
)
epoch_iters = None  # an epoch is one pass over the training set
val_epochs = 5
