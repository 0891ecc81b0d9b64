# FFNet on the mini dataset.
# In training, half of the messages are late, by half a second, since clouds are recorded twice a
# second: so there is something to compensate (our choice). Put the same transform into the test
# pipeline to test under delay.
_base_ = './v2xpnp_mini_v2xpnp.py'
model = dict(
    temporal_neck=dict(
        _delete_=True,
        type='FlowTemporalNeck',
        flow_channels=64,
        temporal_neck={{_base_.model.temporal_neck}},
    ),
    fusion_neck=dict(_delete_=True, type='FFNetFusion'),
)
train_pipeline = [dict(type='CooperativeDelay', delay=(0.0, 0.2)), *_base_.train_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
