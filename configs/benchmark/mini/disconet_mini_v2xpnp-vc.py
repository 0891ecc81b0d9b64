# DiscoNet, taught by early fusion, on the mini dataset, mode vc.
_base_ = './disconet-nokd_mini_v2xpnp-vc.py'
model = dict(
    type='DistilledCooperativeDetector',
    teacher=dict(
        config='configs/benchmark/mini/early-fusion_mini_v2xpnp-vc.py',
        checkpoint='work_dirs/early-fusion_mini_v2xpnp-vc/epoch_1.pth',
    ),
    distill_weight=1e3,  # our choice: at first about as large as the other losses together
)
