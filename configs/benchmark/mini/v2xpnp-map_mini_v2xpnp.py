# V2XPnP with the vector map on the mini dataset.
_base_ = './v2xpnp_mini_v2xpnp.py'
model = dict(map_neck=dict(type='VectorMapNeck'))
