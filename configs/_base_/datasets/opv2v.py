# OPV2V: simulated, vehicles only, one class. Values are OpenCOOD's, where nothing else is said; our
# choice is that every agent is the ego in training.
_base_ = './v2xpnp.py'
data_root = 'data/opv2v'
class_map = 'vehicle1'
class_names = ('vehicle',)
point_cloud_range = [-140.8, -40.0, -3.0, 140.8, 40.0, 1.0]
family = dict(data_root=data_root, class_map=class_map, comm_range=70.0, max_agents=7)
load = [dict(type='LoadCooperativePoints', zero_intensity=False)]
crop = [dict(type='CooperativeRangeFilter', point_cloud_range=point_cloud_range)]
crop_at_test = [
    dict(
        type='CooperativeRangeFilter',
        point_cloud_range=point_cloud_range,
        label_range=[-140.0, -40.0, -3.0, 140.0, 40.0, 1.0],
    )
]
train_pipeline = [*load, *_base_.project, *_base_.augment, *crop, *_base_.pack]
test_pipeline = [*load, *_base_.project, *crop_at_test, *_base_.pack]
train_dataloader = dict(
    dataset=dict(**family, ann_file='opv2v_infos_train.npz', mode='v2v', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**family, ann_file='opv2v_infos_val.npz', mode='v2v', pipeline=test_pipeline)
)
test_dataloader = dict(
    dataset=dict(**family, ann_file='opv2v_infos_test.npz', mode='v2v', pipeline=test_pipeline)
)
val_evaluator = dict(
    class_names=class_names, eval_range=(-140.0, -40.0, 140.0, 40.0), z_range=(-3.0, 1.0)
)
test_evaluator = val_evaluator
