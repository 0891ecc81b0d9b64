# DiscoNet, taught by early fusion, which has to be trained first.
_base_ = './disconet-nokd_v2xpnp.py'
model = dict(
    type='DistilledCooperativeDetector',
    teacher=dict(
        config='configs/benchmark/early-fusion_v2xpnp.py',
        checkpoint=f'work_dirs/early-fusion_v2xpnp{_base_.of_mode}/epoch_30.pth',
    ),
)
