# Where2comm.
_base_ = './v2xpnp_v2xpnp.py'
model = dict(
    fusion_neck=dict(
        _delete_=True,
        type='Where2commFusion',
        budget=0.2,  # our choice
    )
)
