# DiscoNet, taught by early fusion, which has to be trained first, mode v2v.
_base_ = ['./disconet_v2xpnp-vc.py', '../_base_/modes/v2v.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
model = dict(
    teacher=dict(
        config='configs/benchmark/early-fusion_v2xpnp-v2v.py',
        checkpoint='work_dirs/early-fusion_v2xpnp-v2v/epoch_30.pth',
    ),
)
