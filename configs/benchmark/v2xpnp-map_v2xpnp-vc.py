# V2XPnP with the vector map, mode vc.
_base_ = './v2xpnp_v2xpnp-vc.py'
model = dict(
    map_neck=dict(type='VectorMapNeck', channels=256, point_cloud_range={{_base_.model_range}})
)
