# finetune_mini_v2xpnp.py on the simulated dataset in V2X-Seq's layout.
_base_ = './finetune_mini_v2xpnp.py'
model = dict(trajectory_head=dict(follow_lanes=False), lane_bound=())  # there are no maps
data = dict(data_root='data/mini_v2x_seq')
train_dataloader = dict(dataset=dict(**data, ann_file='v2x_seq_infos_train.npz'))
val_dataloader = dict(dataset=dict(**data, ann_file='v2x_seq_infos_val.npz'))
test_dataloader = dict(dataset=dict(**data, ann_file='v2x_seq_infos_test.npz'))
load_from = f'work_dirs/pretrain_mini_v2x_seq{_base_.of_mode}/epoch_1.pth'
