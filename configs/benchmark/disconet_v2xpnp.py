# DiscoNet, taught by early fusion, which has to be trained first.
_base_ = './disconet-nokd_v2xpnp.py'
mode = '{{$V2X_MODE:vc}}'
of_mode = '' if mode == 'vc' else '-' + mode  # as --mode names work directories
model = dict(
    type='DistilledCooperativeDetector',
    teacher=dict(
        config='configs/benchmark/early-fusion_v2xpnp.py',
        checkpoint=f'work_dirs/early-fusion_v2xpnp{of_mode}/epoch_30.pth',
    ),
)
