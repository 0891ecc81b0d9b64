# pretrain_v2xpnp.py on DAIR-V2X-C.
_base_ = [
    '../_base_/datasets/dair_v2x_c.py',
    '../_base_/models/cooperative_pillars_v2v4real.py',
    '../_base_/schedules/pretrain_15e.py',
    '../_base_/default_runtime.py',
]
model = dict(detector={{_base_.model}}, **_base_.pretrainer)
val_dataloader = val_evaluator = test_dataloader = test_evaluator = None
