# finetune_dair_v2x_c.py on the simulated dataset in DAIR-V2X-C's layout.
_base_ = [
    '../../_base_/datasets/mini_v2xpnp.py',
    '../../_base_/models/cooperative_pillars_mini.py',
    '../../_base_/schedules/benchmark_mini.py',
    '../../_base_/default_runtime.py',
]
# There are no tracks to learn forecasts from, and no maps.
model = dict(velocity_head=None, trajectory_head=None, lane_bound=())
data = dict(data_root='data/mini_dair_v2x_c', num_future=0)
train_dataloader = dict(dataset=dict(**data, ann_file='dair_v2x_c_infos_train.npz'))
val_dataloader = dict(dataset=dict(**data, ann_file='dair_v2x_c_infos_val.npz'))
test_dataloader = dict(dataset=dict(**data, ann_file='dair_v2x_c_infos_test.npz'))
load_from = f'work_dirs/pretrain_mini_dair_v2x_c{_base_.of_mode}/epoch_1.pth'
custom_hooks = [dict(type='TransferReportHook', anew=('fusion_neck',))]
