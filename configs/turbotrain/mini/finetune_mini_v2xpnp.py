# finetune_v2xpnp.py on the mini dataset.
_base_ = [
    '../../_base_/datasets/mini_v2xpnp.py',
    '../../_base_/models/cooperative_pillars_mini.py',
    '../../_base_/schedules/finetune_mini.py',
    '../../_base_/default_runtime.py',
]
load_from = f'work_dirs/pretrain_mini_v2xpnp{_base_.of_mode}/epoch_1.pth'
custom_hooks = [dict(type='TransferReportHook', anew=('fusion_neck',))]
