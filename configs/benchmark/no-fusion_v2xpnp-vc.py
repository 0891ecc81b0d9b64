# No fusion, decoupled, mode vc: boxes from the ego's current cloud, forecasts apart from them.
_base_ = './faf_v2xpnp-vc.py'
model = dict(type='LateFusionDetector', fusion_neck=None, point_cloud_range={{_base_.model_range}})
