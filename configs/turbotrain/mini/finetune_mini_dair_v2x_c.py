# finetune_dair_v2x_c.py on the simulated dataset in DAIR-V2X-C's layout.
_base_ = [
    '../../_base_/datasets/mini_dair_v2x_c.py',
    '../../_base_/models/cooperative_pillars_mini.py',
    '../../_base_/schedules/benchmark_mini.py',
    '../../_base_/default_runtime.py',
]
# There are no tracks to learn forecasts from, and no maps.
model = dict(velocity_head=None, trajectory_head=None, lane_bound=())
load_from = 'work_dirs/pretrain_mini_dair_v2x_c/epoch_1.pth'
custom_hooks = [dict(type='TransferReportHook')]
