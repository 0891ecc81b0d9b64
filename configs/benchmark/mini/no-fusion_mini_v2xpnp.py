# No fusion, decoupled, on the mini dataset.
_base_ = './faf_mini_v2xpnp.py'
model = dict(type='LateFusionDetector', fusion_neck=None)
