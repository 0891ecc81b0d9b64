# finetune_mini_v2xpnp.py with the trunk of pretrain_mini_v2xpnp_sparse.py.
_base_ = [
    '../../_base_/datasets/mini_v2xpnp.py',
    '../../_base_/models/cooperative_pillars_mini_sparse.py',
    '../../_base_/schedules/finetune_mini.py',
    '../../_base_/default_runtime.py',
]
load_from = f'work_dirs/pretrain_mini_v2xpnp_sparse{_base_.of_mode}/epoch_1.pth'
custom_hooks = [dict(type='TransferReportHook', anew=('fusion_neck',))]
