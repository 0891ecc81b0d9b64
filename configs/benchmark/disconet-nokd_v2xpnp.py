# DiscoNet without its distillation.
_base_ = './v2xpnp_v2xpnp.py'
model = dict(fusion_neck=dict(_delete_=True, type='DiscoNetFusion'))
