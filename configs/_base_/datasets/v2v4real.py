# V2V4Real: two recorded vehicles, one class. Values are its released code's, where nothing else is
# said; the range of the model is our choice.
_base_ = './v2xpnp.py'
data_root = 'data/v2v4real'
class_map = 'vehicle1'
class_names = ('vehicle',)
point_cloud_range = [-102.4, -40.0, -5.0, 102.4, 40.0, 3.0]
family = dict(data_root=data_root, class_map=class_map, comm_range=70.0, max_agents=2, mode='v2v')
load = [dict(type='LoadCooperativePoints', zero_intensity=False)]
crop = [dict(type='CooperativeRangeFilter', point_cloud_range=point_cloud_range, min_corners=2)]
crop_at_test = [
    dict(
        type='CooperativeRangeFilter',
        point_cloud_range=point_cloud_range,
        label_range=[-100.0, -40.0, -5.0, 100.0, 40.0, 3.0],
        min_corners=2,
    )
]
train_pipeline = [*load, *_base_.project, *_base_.augment, *crop, *_base_.pack]
test_pipeline = [*load, *_base_.project, *crop_at_test, *_base_.pack]
train_dataloader = dict(
    dataset=dict(
        **family, ann_file='v2v4real_infos_train.npz', ego='random', pipeline=train_pipeline
    )
)
val_dataloader = dict(
    dataset=dict(**family, ann_file='v2v4real_infos_val.npz', pipeline=test_pipeline)
)
test_dataloader = dict(
    dataset=dict(**family, ann_file='v2v4real_infos_test.npz', pipeline=test_pipeline)
)
val_evaluator = dict(
    class_names=class_names,
    eval_range=(-100.0, -40.0, 100.0, 40.0),
    z_range=(-5.0, 3.0),
    min_corners=2,
)
test_evaluator = val_evaluator
