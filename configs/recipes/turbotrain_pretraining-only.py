# TurboTrain without balancing: pretraining, then the sum of the losses.
stages = dict(
    pretraining=dict(config='configs/turbotrain/pretrain_v2xpnp.py', epochs=15),
    finetuning=dict(
        config='configs/recipes/stages/joint_ma-mf_v2xpnp.py',
        epochs=30,
        fresh=['bbox_head', 'trajectory_head'],
    ),
)
epoch_iters = None  # an epoch is one pass over the training set
val_epochs = 5
