# V2XPnP-Seq. Its modes are those of the command's --mode, for training and tests alike (our choice:
# V2X-Real trains with any agent as the ego). In vc a vehicle is the ego and hears vehicles and
# roadside units; in ic a roadside unit hears both; in v2v vehicles hear vehicles, and the corridor
# scenarios count at test, too; in i2i roadside units hear roadside units.
mode = '{{$V2X_MODE:vc}}'
dataset_type = 'V2XPnPDataset'
data_root = 'data/v2xpnp'
backend_args = None  # mmengine's fileio: where infos, clouds and maps are; None is the local disk
class_map = 'v2xreal3'  # our choice; V2XPnP's own merge of classes is not public
class_names = ('vehicle', 'pedestrian', 'truck')
# x and y as in V2XPnP's GT_RANGE; z is our choice. It holds the road under a roadside LiDAR, not
# what is far from one that is pitched: see docs/data.md.
point_cloud_range = [-70.4, -40.0, -5.0, 70.4, 40.0, 3.0]
sequence = dict(num_history=4, num_future=6, step=0.5)  # 2 s (our choice) and 3 s at 2 Hz

load = [
    dict(type='LoadCooperativePoints', zero_intensity=True),
    dict(type='LoadVectorMap'),
]
project = [dict(type='ProjectPointsToEgo')]
augment = [dict(type='CooperativeGlobalAugmentation')]
crop = [dict(type='CooperativeRangeFilter', point_cloud_range=point_cloud_range)]
crop_at_test = [
    dict(
        type='CooperativeRangeFilter',
        point_cloud_range=point_cloud_range,
        label_range=[-70.4, -40.0, -15.0, 70.4, 40.0, 15.0],
    )
]
pack = [dict(type='PackCooperativeInputs')]
train_pipeline = [*load, *project, *augment, *crop, *pack]
test_pipeline = [*load, *project, *crop_at_test, *pack]

train_dataloader = dict(
    batch_size=4,  # our choice
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='EpochIndexSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        backend_args=backend_args,
        ann_file='v2xpnp_infos_train.npz',
        class_map=class_map,
        mode=mode,
        ego='every',  # our choice; V2X-Real draws a random agent
        pipeline=train_pipeline,
        **sequence,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        backend_args=backend_args,
        ann_file='v2xpnp_infos_val.npz',
        class_map=class_map,
        mode=mode,
        drop_corridors=True,
        pipeline=test_pipeline,
        test_mode=True,
        **sequence,
    ),
)
test_dataloader = {
    **val_dataloader,
    'dataset': {**val_dataloader['dataset'], 'ann_file': 'v2xpnp_infos_test.npz'},
}
val_evaluator = dict(
    type='CooperativeMetric',
    class_names=class_names,
    eval_range=(-70.4, -40.0, 70.4, 40.0),
    z_range=(-15.0, 15.0),
    min_corners=8,
    forecasting_score_threshold=0.3,  # our choice: best EPA on mini's validation split
)
test_evaluator = val_evaluator
