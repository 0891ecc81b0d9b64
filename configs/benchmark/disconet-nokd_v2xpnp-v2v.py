# DiscoNet without its distillation, mode v2v.
_base_ = ['./disconet-nokd_v2xpnp-vc.py', '../_base_/modes/v2v.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
