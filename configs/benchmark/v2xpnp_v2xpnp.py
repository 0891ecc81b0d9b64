# V2XPnP: the benchmark's own method, and the parent of the others.
_base_ = [
    '../_base_/datasets/v2xpnp.py',
    '../_base_/models/cooperative_pillars.py',
    '../_base_/schedules/benchmark_30e.py',
    '../_base_/default_runtime.py',
]
model = dict(fusion_neck=dict(_delete_=True, type='V2XPnPFusion', num_heads=8))
