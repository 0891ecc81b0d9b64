# DiscoNet, taught by early fusion, on the mini dataset, mode v2v.
_base_ = ['./disconet_mini_v2xpnp-vc.py', '../../_base_/modes/v2v.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
model = dict(
    teacher=dict(
        config='configs/benchmark/mini/early-fusion_mini_v2xpnp-v2v.py',
        checkpoint='work_dirs/early-fusion_mini_v2xpnp-v2v/epoch_1.pth',
    ),
)
