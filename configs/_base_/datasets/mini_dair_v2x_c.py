# The simulated mini dataset in DAIR-V2X-C's layout: mini_v2x_seq.py without tracks.
_base_ = './mini_v2x_seq.py'
family = dict(data_root='data/mini_dair_v2x_c', num_future=0)
train_dataloader = dict(dataset=dict(**family, ann_file='dair_v2x_c_infos_train.npz'))
val_dataloader = dict(dataset=dict(**family, ann_file='dair_v2x_c_infos_val.npz'))
test_dataloader = dict(dataset=dict(**family, ann_file='dair_v2x_c_infos_test.npz'))
