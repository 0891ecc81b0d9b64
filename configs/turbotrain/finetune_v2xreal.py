# finetune_v2xpnp.py on V2X-Real.
_base_ = [
    '../_base_/datasets/v2xreal.py',
    '../_base_/models/cooperative_pillars_v2xreal.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/default_runtime.py',
]
load_from = f'work_dirs/pretrain_v2xreal{_base_.of_mode}/epoch_15.pth'
custom_hooks = [dict(type='TransferReportHook', anew=('fusion_neck',))]
