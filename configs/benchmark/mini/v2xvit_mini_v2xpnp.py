# V2X-ViT on the mini dataset.
_base_ = './v2xpnp_mini_v2xpnp.py'
model = dict(
    fusion_neck=dict(
        _delete_=True,
        type='V2XViTFusion',
        channels=64,
        num_heads=4,
        windows=[2, 4, 8],
        point_cloud_range={{_base_.model_range}},
    )
)
