# FaF*: no fusion, end to end over time, on the mini dataset, mode ic.
_base_ = ['./faf_mini_v2xpnp-vc.py', '../../_base_/modes/ic.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
