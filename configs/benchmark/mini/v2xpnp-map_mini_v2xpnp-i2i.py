# V2XPnP with the vector map on the mini dataset, mode i2i.
_base_ = ['./v2xpnp-map_mini_v2xpnp-vc.py', '../../_base_/modes/i2i.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
