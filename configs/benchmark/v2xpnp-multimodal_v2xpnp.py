# V2XPnP with the vector map, and six forecasts for each box, which looks at the map, too.
_base_ = './v2xpnp-map_v2xpnp.py'
model = dict(trajectory_head=dict(num_modes=6, map_attention=dict(num_polylines=5)))
