# Detection and prediction: the ego alone, all frames, losses summed.
# One agent is left, and the fusion neck, which has no weights, passes its map on.
_base_ = './joint_ma-mf_v2xpnp.py'
train_pipeline = [dict(type='EgoOnly'), *_base_.train_pipeline]
test_pipeline = [dict(type='EgoOnly'), *_base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
model = dict(fusion_neck=dict(_delete_=True, type='FCooperFusion'))
