# Late fusion, decoupled, on the mini dataset.
_base_ = './v2xpnp_mini_v2xpnp.py'
model = dict(type='LateFusionDetector', fusion_neck=None)
# Clouds stay in their agents' frames. In training every agent is an example with labels of its own:
# they reach beyond the ego's range by the range of communication.
crop = [
    dict(
        type='CooperativeRangeFilter',
        point_cloud_range={{_base_.point_cloud_range}},
        label_range=[-110.0, -110.0, -15.0, 110.0, 110.0, 15.0],
    )
]
train_pipeline = [*_base_.load, *_base_.augment, *crop, *_base_.pack]
test_pipeline = [*_base_.load, *_base_.crop_at_test, *_base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
