# finetune_v2xpnp.py on OPV2V.
_base_ = [
    '../_base_/datasets/opv2v.py',
    '../_base_/models/cooperative_pillars_opv2v.py',
    '../_base_/schedules/finetune_30e.py',
    '../_base_/default_runtime.py',
]
load_from = 'work_dirs/pretrain_opv2v/epoch_15.pth'
custom_hooks = [dict(type='TransferReportHook')]
