# DiscoNet, taught by early fusion, on the mini dataset.
_base_ = './disconet-nokd_mini_v2xpnp.py'
model = dict(
    type='DistilledCooperativeDetector',
    teacher=dict(
        config='configs/benchmark/mini/early-fusion_mini_v2xpnp.py',
        checkpoint=f'work_dirs/early-fusion_mini_v2xpnp{_base_.of_mode}/epoch_1.pth',
    ),
    distill_weight=1e3,  # our choice: at first about as large as the other losses together
)
