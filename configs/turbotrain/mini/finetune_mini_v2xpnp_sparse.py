# finetune_mini_v2xpnp.py with the trunk of pretrain_mini_v2xpnp_sparse.py.
_base_ = './finetune_mini_v2xpnp.py'
model = dict(
    encoder=dict(
        _delete_=True,
        type='SparsePillarEncoder',
        point_cloud_range={{_base_.model_range}},
        pillar_size=[0.4, 0.4],
        stage_channels=(32, 64, 64),
        depth=3,
    ),
    backbone=dict(in_channels=64, layer_nums=[0], layer_strides=[1], out_channels=[64]),
    neck=dict(in_channels=[64], upsample_strides=[1], out_channels=[64]),
)
load_from = 'work_dirs/pretrain_mini_v2xpnp_sparse/epoch_1.pth'
