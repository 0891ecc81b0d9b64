# One-time training: all agents, one frame, detection from scratch; as many epochs as TurboTrain
# (our choice).
stages = dict(
    detection=dict(config='configs/recipes/stages/detection_ma-sf_v2xpnp.py', epochs=45),
)
epoch_iters = None  # an epoch is one pass over the training set
val_epochs = 5
