# FaF*: no fusion, end to end over time, mode i2i.
_base_ = ['./faf_v2xpnp-vc.py', '../_base_/modes/i2i.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
