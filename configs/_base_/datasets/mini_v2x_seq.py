# The simulated mini dataset in V2X-Seq's layout: one vehicle, one roadside unit, no maps.
_base_ = './mini_v2xpnp.py'
data_root = 'data/mini_v2x_seq'
load = [dict(type='LoadCooperativePoints', zero_intensity=True)]
train_pipeline = [*load, *_base_.project, *_base_.augment, *_base_.crop, *_base_.pack]
test_pipeline = [*load, *_base_.project, *_base_.crop_at_test, *_base_.pack]
train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='v2x_seq_infos_train.npz', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='v2x_seq_infos_val.npz', pipeline=test_pipeline)
)
test_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='v2x_seq_infos_test.npz', pipeline=test_pipeline)
)
