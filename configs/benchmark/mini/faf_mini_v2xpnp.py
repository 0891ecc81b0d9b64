# FaF*: no fusion, end to end over time, on the mini dataset.
# One agent is left, and the fusion neck passes its map on.
_base_ = './f-cooper_mini_v2xpnp.py'
train_pipeline = [dict(type='EgoOnly'), *_base_.train_pipeline]
test_pipeline = [dict(type='EgoOnly'), *_base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
