# V2X-ViT on the mini dataset, mode ic.
_base_ = ['./v2xvit_mini_v2xpnp-vc.py', '../../_base_/modes/ic.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
