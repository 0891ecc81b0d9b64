# FFNet, mode i2i.
_base_ = ['./ffnet_v2xpnp-vc.py', '../_base_/modes/i2i.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
