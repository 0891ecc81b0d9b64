# No fusion, decoupled: boxes from the ego's current cloud, forecasts apart from them.
_base_ = './faf_v2xpnp.py'
model = dict(type='LateFusionDetector', fusion_neck=None)
