# Where2comm on the mini dataset, mode ic.
_base_ = ['./where2comm_mini_v2xpnp-vc.py', '../../_base_/modes/ic.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
