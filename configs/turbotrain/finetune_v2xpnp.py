# TurboTrain, stage 2: detection and prediction together, conflicting gradients suppressed.
_base_ = [
    '../_base_/datasets/v2xpnp.py',
    '../_base_/models/cooperative_pillars.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/default_runtime.py',
]
load_from = f'work_dirs/pretrain_v2xpnp{_base_.of_mode}/epoch_15.pth'  # where stage 1 leaves it
custom_hooks = [dict(type='TransferReportHook', anew=('fusion_neck',))]
