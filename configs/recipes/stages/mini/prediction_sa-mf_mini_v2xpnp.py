# Temporal fusion and prediction on the mini dataset: the ego alone; what detects is frozen.
_base_ = './joint_sa-mf_mini_v2xpnp.py'
model = dict(frozen=['encoder', 'backbone', 'neck', 'bev_neck', 'bbox_head'])
