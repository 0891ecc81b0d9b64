# DiscoNet, taught by early fusion, on the mini dataset.
_base_ = './disconet-nokd_mini_v2xpnp.py'
mode = '{{$V2X_MODE:vc}}'
of_mode = '' if mode == 'vc' else '-' + mode  # as --mode names work directories
model = dict(
    type='DistilledCooperativeDetector',
    teacher=dict(
        config='configs/benchmark/mini/early-fusion_mini_v2xpnp.py',
        checkpoint=f'work_dirs/early-fusion_mini_v2xpnp{of_mode}/epoch_1.pth',
    ),
    distill_weight=1e3,  # our choice: at first about as large as the other losses together
)
