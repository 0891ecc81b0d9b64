# finetune_v2xpnp.py on DAIR-V2X-C: detection alone, there are no tracks.
_base_ = [
    '../_base_/datasets/dair_v2x_c.py',
    '../_base_/models/cooperative_pillars_v2v4real.py',
    '../_base_/schedules/benchmark_30e.py',
    '../_base_/default_runtime.py',
]
# The heads that forecast have nothing to learn from, and one task alone has no conflicts.
model = dict(velocity_head=None, trajectory_head=None)
load_from = f'work_dirs/pretrain_dair_v2x_c{_base_.of_mode}/epoch_15.pth'
custom_hooks = [dict(type='TransferReportHook', anew=('fusion_neck',))]
