# finetune_mini_v2xpnp.py on the simulated dataset in V2X-Seq's layout.
_base_ = [
    '../../_base_/datasets/mini_v2x_seq.py',
    '../../_base_/models/cooperative_pillars_mini.py',
    '../../_base_/schedules/finetune_mini.py',
    '../../_base_/default_runtime.py',
]
model = dict(trajectory_head=dict(follow_lanes=False), lane_bound=())  # there are no maps
load_from = 'work_dirs/pretrain_mini_v2x_seq/epoch_1.pth'
custom_hooks = [dict(type='TransferReportHook')]
