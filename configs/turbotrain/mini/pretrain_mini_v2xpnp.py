# pretrain_v2xpnp.py on the mini dataset.
_base_ = [
    '../../_base_/datasets/mini_v2xpnp.py',
    '../../_base_/models/cooperative_pillars_mini.py',
    '../../_base_/schedules/pretrain_mini.py',
    '../../_base_/default_runtime.py',
]
model = dict(detector={{_base_.model}}, **_base_.pretrainer)
val_dataloader = val_evaluator = test_dataloader = test_evaluator = None
