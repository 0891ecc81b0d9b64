# V2X-Real. Values are those of its released code, where nothing else is said.
_base_ = './v2xpnp.py'
data_root = 'data/v2xreal'
point_cloud_range = [-102.4, -40.0, -15.0, 102.4, 40.0, 15.0]
load = [dict(type='LoadCooperativePoints', zero_intensity=True, on_bad_cloud='drop')]
crop = [dict(type='CooperativeRangeFilter', point_cloud_range=point_cloud_range, min_corners=2)]
crop_at_test = [
    dict(
        type='CooperativeRangeFilter',
        point_cloud_range=point_cloud_range,
        label_range=[-100.0, -40.0, -15.0, 100.0, 40.0, 15.0],
        min_corners=2,
    )
]
train_pipeline = [*load, *_base_.project, *_base_.augment, *crop, *_base_.pack]
test_pipeline = [*load, *_base_.project, *crop_at_test, *_base_.pack]
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='v2xreal_infos_train.npz',
        ego='any',
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='v2xreal_infos_val.npz', pipeline=test_pipeline)
)
test_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='v2xreal_infos_test.npz', pipeline=test_pipeline)
)
val_evaluator = dict(eval_range=(-100.0, -40.0, 100.0, 40.0), min_corners=2)
test_evaluator = val_evaluator
