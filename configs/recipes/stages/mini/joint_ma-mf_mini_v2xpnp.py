# Detection and prediction on the mini dataset: all agents, all frames, losses summed.
_base_ = [
    '../../../_base_/datasets/mini_v2xpnp.py',
    '../../../_base_/models/cooperative_pillars_mini.py',
    '../../../_base_/schedules/benchmark_mini.py',
    '../../../_base_/default_runtime.py',
]
