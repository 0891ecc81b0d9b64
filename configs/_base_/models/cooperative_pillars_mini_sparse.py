# cooperative_pillars_mini.py with sparse convolutions first.
# All values are our choice.
_base_ = './cooperative_pillars_mini.py'
model = dict(
    encoder=dict(
        _delete_=True,
        type='SparsePillarEncoder',
        pillar_size=[0.4, 0.4],
        stage_channels=(32, 64, 64),
        depth=3,
    ),
    backbone=dict(in_channels=64, layer_nums=[0], layer_strides=[1], out_channels=[64]),
    neck=dict(in_channels=[64], upsample_strides=[1], out_channels=[64]),
)
