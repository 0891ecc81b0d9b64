# DiscoNet, taught by early fusion, which has to be trained first, mode ic.
_base_ = ['./disconet_v2xpnp-vc.py', '../_base_/modes/ic.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
model = dict(
    teacher=dict(
        config='configs/benchmark/early-fusion_v2xpnp-ic.py',
        checkpoint='work_dirs/early-fusion_v2xpnp-ic/epoch_30.pth',
    ),
)
