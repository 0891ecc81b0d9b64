# TurboTrain, stage 1: masked reconstruction pretrains backbone, temporal and multi-agent fusion.
_base_ = [
    '../_base_/datasets/v2xpnp.py',
    '../_base_/models/cooperative_pillars.py',
    '../_base_/schedules/pretrain_15e.py',
    '../_base_/default_runtime.py',
]
model = dict(detector={{_base_.model}}, **_base_.pretrainer)
# There is nothing to validate before stage 2.
val_dataloader = val_evaluator = test_dataloader = test_evaluator = None
