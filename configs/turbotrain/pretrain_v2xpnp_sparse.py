# pretrain_v2xpnp.py with sparse convolutions first.
_base_ = [
    '../_base_/datasets/v2xpnp.py',
    '../_base_/models/cooperative_pillars_sparse.py',
    '../_base_/schedules/pretrain_15e.py',
    '../_base_/default_runtime.py',
]
model = dict(detector={{_base_.model}}, **_base_.pretrainer)
val_dataloader = val_evaluator = test_dataloader = test_evaluator = None
