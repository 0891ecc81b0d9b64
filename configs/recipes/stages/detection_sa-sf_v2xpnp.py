# Detection: the ego alone, the newest frame.
_base_ = './joint_sa-mf_v2xpnp.py'
one_frame = dict(dataset=dict(num_history=0))
train_dataloader = val_dataloader = test_dataloader = one_frame
model = dict(temporal_neck=None, velocity_head=None, trajectory_head=None)
