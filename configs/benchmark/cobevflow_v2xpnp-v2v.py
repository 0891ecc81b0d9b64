# CoBEVFlow, mode v2v.
_base_ = ['./cobevflow_v2xpnp-vc.py', '../_base_/modes/v2v.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
