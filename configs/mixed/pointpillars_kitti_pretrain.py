# mmdet3d's PointPillars pretrained on KITTI's clouds; labels are not read.
_base_ = 'mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py'
custom_imports = dict(imports=['turbotrain.plugin'], allow_failed_imports=False)
model = dict(_delete_=True, type='MaskedPretrainer', detector={{_base_.model}})
train_pipeline = [
    dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4),
    dict(type='RandomFlip3D', flip_ratio_bev_horizontal=0.5),
    dict(type='GlobalRotScaleTrans', rot_range=[-0.785, 0.785], scale_ratio_range=[0.95, 1.05]),
    dict(type='PointsRangeFilter', point_cloud_range={{_base_.point_cloud_range}}),
    dict(type='PointShuffle'),
    dict(type='Pack3DDetInputs', keys=['points']),
]
unlabelled = dict(test_mode=True, load_eval_anns=False, pipeline=train_pipeline)
train_dataloader = dict(dataset=dict(dataset=unlabelled))
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
