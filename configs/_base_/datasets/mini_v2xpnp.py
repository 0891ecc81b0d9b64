# The simulated mini dataset: smaller range, shorter history. All values are our choice.
_base_ = './v2xpnp.py'
data_root = 'data/mini_v2xpnp'
point_cloud_range = [-51.2, -25.6, -5.0, 51.2, 25.6, 3.0]
load = [
    dict(type='LoadCooperativePoints', zero_intensity=True),
    dict(type='LoadVectorMap'),
]
project = [dict(type='ProjectPointsToEgo')]
# Roads stay along the anchors, and traffic on the right, in the few steps there are.
augment = [dict(type='CooperativeGlobalAugmentation', flip_probability=0.0, rotation=0.15)]
crop = [dict(type='CooperativeRangeFilter', point_cloud_range=point_cloud_range)]
crop_at_test = [
    dict(
        type='CooperativeRangeFilter',
        point_cloud_range=point_cloud_range,
        label_range=[-51.2, -25.6, -15.0, 51.2, 25.6, 15.0],
    )
]
pack = [dict(type='PackCooperativeInputs')]
train_pipeline = [*load, *project, *augment, *crop, *pack]
test_pipeline = [*load, *project, *crop_at_test, *pack]
train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    dataset=dict(data_root=data_root, num_history=2, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1, dataset=dict(data_root=data_root, num_history=2, pipeline=test_pipeline)
)
test_dataloader = dict(
    num_workers=1, dataset=dict(data_root=data_root, num_history=2, pipeline=test_pipeline)
)
val_evaluator = dict(eval_range=(-51.2, -25.6, 51.2, 25.6))
test_evaluator = val_evaluator
