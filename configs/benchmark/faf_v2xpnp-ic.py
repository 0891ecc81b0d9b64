# FaF*: no fusion, end to end over time, mode ic.
_base_ = ['./faf_v2xpnp-vc.py', '../_base_/modes/ic.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
