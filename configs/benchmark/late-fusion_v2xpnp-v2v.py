# Late fusion, decoupled as no fusion is: agents send boxes and their paths, mode v2v.
_base_ = ['./late-fusion_v2xpnp-vc.py', '../_base_/modes/v2v.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
