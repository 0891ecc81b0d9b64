# V2XPnP with the vector map and six forecasts for each box, on the mini dataset.
_base_ = './v2xpnp-map_mini_v2xpnp.py'
model = dict(trajectory_head=dict(num_modes=6, map_attention=dict(num_polylines=5)))
