# Detection and prediction: all agents, all frames, losses summed.
_base_ = [
    '../../_base_/datasets/v2xpnp.py',
    '../../_base_/models/cooperative_pillars.py',
    '../../_base_/schedules/benchmark_30e.py',
    '../../_base_/default_runtime.py',
]
