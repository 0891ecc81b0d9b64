# finetune_v2xpnp.py on OPV2V.
_base_ = [
    '../_base_/datasets/opv2v.py',
    '../_base_/models/cooperative_pillars_opv2v.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/default_runtime.py',
]
load_from = f'work_dirs/pretrain_opv2v{_base_.of_mode}/epoch_15.pth'
custom_hooks = [dict(type='TransferReportHook', anew=('fusion_neck',))]
