# V2XPnP with the vector map.
_base_ = './v2xpnp_v2xpnp.py'
model = dict(map_neck=dict(type='VectorMapNeck'))
