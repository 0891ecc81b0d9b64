# Stage 2. 30 of TurboTrain's 45 epochs. V2X-Real has Adam; its weight decay, which Adam takes for a
# gradient, shrinks to nothing what has small gradients, such as the trajectory head. AdamW, the
# split, the warm-up and the clipping are our choice.
lr = 2e-3
optim_wrapper = dict(
    type='ConflictSuppressingOptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, eps=1e-10, weight_decay=0.01),
    # Our choice, on mini's validation split.
    paramwise_cfg=dict(custom_keys={'velocity_head': dict(lr_mult=2.0)}),
    clip_grad=dict(max_norm=10, norm_type=2),
    tasks=dict(
        detection=['loss_cls', 'loss_bbox', 'loss_dir'],
        prediction=[
            'loss_step',
            'loss_velocity',
            'loss_acceleration',
            'loss_moving',
            'loss_trajectory*',
        ],
    ),
    aggregator=dict(type='PCGrad'),
    schedule=dict(type='PeriodicSchedule', free=2, suppress=1),  # our choice
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=1,
        end=30,
        T_max=29,
        eta_min=lr / 100,
        convert_to_iter_based=True,
    ),
]
