# Stage 1. Adam as in CooPre; 15 of TurboTrain's 45 epochs. The split, one epoch of warm-up (CooPre:
# ten) and BEV-MAE's clipping are our choice.
lr = 2e-3
# What stage 1 wraps around a full-size detector; the ratio and the cells are CooPre's, our choice.
pretrainer = dict(
    _delete_=True,
    type='MaskedPretrainer',
    masking=dict(type='BEVCellMasking', ratio=0.7, cell_size=0.8),
    reconstruction_head=dict(feat_channels=256),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=lr, eps=1e-10, weight_decay=1e-4),
    clip_grad=dict(max_norm=10, norm_type=2),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=15)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=1,
        end=15,
        T_max=14,
        eta_min=lr / 100,
        convert_to_iter_based=True,
    ),
]
