# cooperative_pillars.py with sparse convolutions first: what is empty or hidden costs nothing.
# All values are our choice.
_base_ = './cooperative_pillars.py'
model = dict(
    encoder=dict(
        _delete_=True,
        type='SparsePillarEncoder',
        pillar_size=[0.2, 0.2],
        stage_channels=(32, 64, 128),
        depth=3,
    ),
    backbone=dict(
        in_channels=128, layer_nums=[1, 3], layer_strides=[1, 2], out_channels=[128, 256]
    ),
    neck=dict(in_channels=[128, 256], upsample_strides=[1, 2], out_channels=[128, 128]),
)
