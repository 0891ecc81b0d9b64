# V2X-ViT.
_base_ = './v2xpnp_v2xpnp.py'
model = dict(
    fusion_neck=dict(
        _delete_=True,
        type='V2XViTFusion',
        channels=256,
        num_heads=8,
        point_cloud_range={{_base_.model_range}},
    )
)
