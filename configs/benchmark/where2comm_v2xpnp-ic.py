# Where2comm, mode ic.
_base_ = ['./where2comm_v2xpnp-vc.py', '../_base_/modes/ic.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
