# The manual strategy that TurboTrain replaces: four stages, 120 epochs in all, as TurboTrain's
# authors say in a talk; their split is our choice.
stages = dict(
    S1=dict(config='configs/recipes/stages/detection_sa-sf_v2xpnp.py', epochs=30),
    S2=dict(
        config='configs/recipes/stages/prediction_sa-mf_v2xpnp.py',
        epochs=30,
        fresh=['temporal_neck', 'velocity_head', 'trajectory_head'],
    ),
    S3=dict(config='configs/recipes/stages/joint_sa-mf_v2xpnp.py', epochs=30),
    S4=dict(
        config='configs/recipes/stages/joint_ma-mf_v2xpnp.py',
        epochs=30,
        fresh=['fusion_neck'],
    ),
)
epoch_iters = None  # an epoch is one pass over the training set
val_epochs = 5
