# The benchmark's methods: detection and prediction from scratch in one stage, their losses summed.
# Our choice; V2XPnP trains in stages.
_base_ = './finetune_30e.py'
lr = 2e-3
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=lr, eps=1e-10, weight_decay=1e-4),
    constructor='FewGroupsConstructor',
    paramwise_cfg=dict(
        custom_keys={
            'velocity_head': dict(lr_mult=2.0),
            'trajectory_head': dict(decay_mult=0.0),
        }
    ),
    clip_grad=dict(max_norm=10, norm_type=2),
)
