# pretrain_mini_v2xpnp.py on the simulated dataset in DAIR-V2X-C's layout.
_base_ = [
    '../../_base_/datasets/mini_dair_v2x_c.py',
    '../../_base_/models/cooperative_pillars_mini.py',
    '../../_base_/schedules/pretrain_mini.py',
    '../../_base_/default_runtime.py',
]
model = dict(
    _delete_=True,
    type='MaskedPretrainer',
    detector={{_base_.model}},
    masking=dict(type='BEVCellMasking', ratio=0.5, cell_size=0.8),
    reconstruction_head=dict(feat_channels=64, num_convs=4, max_targets=32),
    hiding='token',
)
train_dataloader = dict(dataset=dict(ego='first'))
val_dataloader = val_evaluator = test_dataloader = test_evaluator = None
