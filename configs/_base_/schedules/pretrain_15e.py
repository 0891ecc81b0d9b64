# Stage 1. Adam as in CooPre; 15 of TurboTrain's 45 epochs. The split, one epoch of warm-up (CooPre:
# ten) and BEV-MAE's clipping are our choice.
lr = 2e-3
# What stage 1 wraps around a full-size detector. CooPre's are the ratio and the cells; the rest is
# our choice, by what pays on the simulated sets: see docs/pretraining.md.
pretrainer = dict(
    _delete_=True,
    type='MaskedPretrainer',
    masking=dict(type='BEVCellCoMasking', ratio=0.7, cell_size=0.8, frames='current'),
    reconstruction_head=dict(feat_channels=128, num_convs=4, ground_margin=0.2),
    hiding='token',
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
