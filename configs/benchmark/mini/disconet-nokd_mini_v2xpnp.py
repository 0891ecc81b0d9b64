# DiscoNet without its distillation on the mini dataset.
_base_ = './v2xpnp_mini_v2xpnp.py'
model = dict(
    fusion_neck=dict(
        _delete_=True,
        type='DiscoNetFusion',
        channels=64,
        norm_cfg={{_base_.norm_cfg}},
        point_cloud_range={{_base_.model_range}},
    )
)
