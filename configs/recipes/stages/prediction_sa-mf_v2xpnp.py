# Temporal fusion and prediction: the ego alone; what detects is frozen.
_base_ = './joint_sa-mf_v2xpnp.py'
model = dict(frozen=['encoder', 'backbone', 'neck', 'bbox_head'])
