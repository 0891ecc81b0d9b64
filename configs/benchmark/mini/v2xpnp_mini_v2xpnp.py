# V2XPnP on the mini dataset: the benchmark's own method, and the parent of the others.
_base_ = [
    '../../_base_/datasets/mini_v2xpnp.py',
    '../../_base_/models/cooperative_pillars_mini.py',
    '../../_base_/schedules/benchmark_mini.py',
    '../../_base_/default_runtime.py',
]
model = dict(fusion_neck=dict(_delete_=True, type='V2XPnPFusion', num_heads=4))
