# DiscoNet, taught by early fusion, which has to be trained first; mode vc.
_base_ = './disconet-nokd_v2xpnp-vc.py'
model = dict(
    type='DistilledCooperativeDetector',
    teacher=dict(
        config='configs/benchmark/early-fusion_v2xpnp-vc.py',
        checkpoint='work_dirs/early-fusion_v2xpnp-vc/epoch_30.pth',
    ),
)
