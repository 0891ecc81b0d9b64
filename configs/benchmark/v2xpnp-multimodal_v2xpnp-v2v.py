# V2XPnP with the vector map, and six forecasts for each box, which looks at the map, too, mode v2v.
_base_ = ['./v2xpnp-multimodal_v2xpnp-vc.py', '../_base_/modes/v2v.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
