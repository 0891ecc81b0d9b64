# DAIR-V2X-C: one recorded vehicle and one roadside unit, one class, no tracks. Evaluated is the
# official protocol's range, ahead of the vehicle: AP_dair counts boxes with any corner in it, the
# other metrics boxes that lie in it seen from above. The model's range is V2V4Real's (our choice):
# it holds that one and OpenCOOD's, x +-100.8 and y +-40 m, which goes with the complemented labels.
# The original labels end where the vehicle's camera does: a model trained on them finds nothing
# behind it.
_base_ = './v2v4real.py'
data_root = 'data/dair_v2x_c'
# Nothing says where objects were or will be: the past is there for its clouds.
family = dict(data_root=data_root, mode='vc', comm_range=100.0, num_future=0)
# The two sides may write intensities in two scales: pillars go without (our choice).
load = [dict(type='LoadCooperativePoints', zero_intensity=True, on_bad_cloud='drop')]
crop = [
    dict(
        type='CooperativeRangeFilter',
        point_cloud_range=_base_.point_cloud_range,
        min_corners=1,
    )
]
crop_at_test = [
    dict(
        type='CooperativeRangeFilter',
        point_cloud_range=_base_.point_cloud_range,
        label_range=[0.0, -39.68, -3.0, 100.0, 39.68, 1.0],
        min_corners=1,
    )
]
train_pipeline = [*load, *_base_.project, *_base_.augment, *crop, *_base_.pack]
test_pipeline = [*load, *_base_.project, *crop_at_test, *_base_.pack]
train_dataloader = dict(
    dataset=dict(
        **family, ann_file='dair_v2x_c_infos_train.npz', ego='first', pipeline=train_pipeline
    )
)
val_dataloader = dict(
    dataset=dict(**family, ann_file='dair_v2x_c_infos_val.npz', pipeline=test_pipeline)
)
# The labels of the test split were never published.
test_dataloader = val_dataloader
val_evaluator = dict(
    eval_range=(0.0, -39.68, 100.0, 39.68),
    z_range=(-3.0, 1.0),
    min_corners=1,
    detection_protocols=('dair', 'coalign'),
)
test_evaluator = val_evaluator
