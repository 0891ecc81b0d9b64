# Early fusion.
# One agent is left, and the fusion neck passes its map on.
_base_ = './f-cooper_v2xpnp.py'
together = [*_base_.load, *_base_.project, dict(type='MergeAgentPoints')]
train_pipeline = [*together, *_base_.augment, *_base_.crop, *_base_.pack]
test_pipeline = [*together, *_base_.crop_at_test, *_base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
