# Early fusion.
# One agent is left, and the fusion neck passes its map on.
_base_ = './f-cooper_v2xpnp.py'
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type='MergeAgentPoints'),
    *_base_.train_pipeline[3:],
]
test_pipeline = [
    *_base_.test_pipeline[:3],
    dict(type='MergeAgentPoints'),
    *_base_.test_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
