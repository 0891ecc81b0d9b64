# DiscoNet, taught by early fusion, which has to be trained first, mode i2i.
_base_ = ['./disconet_v2xpnp-vc.py', '../_base_/modes/i2i.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
model = dict(
    teacher=dict(
        config='configs/benchmark/early-fusion_v2xpnp-i2i.py',
        checkpoint='work_dirs/early-fusion_v2xpnp-i2i/epoch_30.pth',
    ),
)
