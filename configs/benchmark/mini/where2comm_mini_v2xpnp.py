# Where2comm on the mini dataset.
_base_ = './v2xpnp_mini_v2xpnp.py'
model = dict(
    fusion_neck=dict(
        _delete_=True,
        type='Where2commFusion',
        channels=64,
        num_heads=4,
        budget=0.2,  # our choice
        norm_cfg={{_base_.norm_cfg}},
        point_cloud_range={{_base_.model_range}},
    )
)
