# Late fusion, decoupled as no fusion is: agents send boxes and their paths, mode i2i.
_base_ = ['./late-fusion_v2xpnp-vc.py', '../_base_/modes/i2i.py']
train_dataloader = val_dataloader = test_dataloader = {{_base_.mode}}
