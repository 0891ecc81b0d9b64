# V2XPnP with the vector map on the mini dataset, mode v2v.
_base_ = ['./v2xpnp-map_mini_v2xpnp-vc.py', '../../_base_/modes/v2v.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
