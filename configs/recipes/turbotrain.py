# TurboTrain: pretraining, then balanced fine-tuning; about 45 epochs in all, as its authors say
# in a talk; the split is our choice.
stages = dict(
    pretraining=dict(config='configs/turbotrain/pretrain_v2xpnp.py', epochs=15),
    finetuning=dict(
        config='configs/turbotrain/finetune_v2xpnp.py',
        epochs=30,
        fresh=['bbox_head', 'velocity_head', 'trajectory_head'],
        anew=['fusion_neck'],  # our choice: pretrained it gains less (docs/pretraining.md)
    ),
)
epoch_iters = None  # an epoch is one pass over the training set
val_epochs = 5
