# DiscoNet, taught by early fusion, on the mini dataset, mode ic.
_base_ = ['./disconet_mini_v2xpnp-vc.py', '../../_base_/modes/ic.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
model = dict(
    teacher=dict(
        config='configs/benchmark/mini/early-fusion_mini_v2xpnp-ic.py',
        checkpoint='work_dirs/early-fusion_mini_v2xpnp-ic/epoch_1.pth',
    ),
)
