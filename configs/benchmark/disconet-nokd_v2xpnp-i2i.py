# DiscoNet without its distillation, mode i2i.
_base_ = ['./disconet-nokd_v2xpnp-vc.py', '../_base_/modes/i2i.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
