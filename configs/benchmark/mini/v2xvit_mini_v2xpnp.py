# V2X-ViT on the mini dataset.
_base_ = './v2xpnp_mini_v2xpnp.py'
model = dict(
    fusion_neck=dict(
        _delete_=True,
        type='V2XViTFusion',
        num_heads=4,
        windows=[2, 4, 8],
    )
)
