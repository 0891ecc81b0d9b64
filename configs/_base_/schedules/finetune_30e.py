# Stage 2. Adam as in V2X-Real; 30 of TurboTrain's 45 epochs. The split, the warm-up and the
# clipping are our choice.
lr = 2e-3
optim_wrapper = dict(
    type='ConflictSuppressingOptimWrapper',
    optimizer=dict(type='Adam', lr=lr, eps=1e-10, weight_decay=1e-4),
    # Our choice, on mini's validation split. Adam takes the decay of a weight for a gradient, which
    # would shrink a head with small gradients of its own to nothing.
    constructor='FewGroupsConstructor',
    paramwise_cfg=dict(
        custom_keys={
            'velocity_head': dict(lr_mult=2.0),
            'trajectory_head': dict(decay_mult=0.0),
        }
    ),
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
    aggregator=dict(type='PCGrad'),  # our reading of "projected"; how exactly is not public
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
