# FFNet on the mini dataset, mode i2i.
_base_ = ['./ffnet_mini_v2xpnp-vc.py', '../../_base_/modes/i2i.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
