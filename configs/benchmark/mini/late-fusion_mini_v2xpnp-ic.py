# Late fusion, decoupled, on the mini dataset, mode ic.
_base_ = ['./late-fusion_mini_v2xpnp-vc.py', '../../_base_/modes/ic.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
