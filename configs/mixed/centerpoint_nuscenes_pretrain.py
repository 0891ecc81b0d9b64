# mmdet3d's CenterPoint (pillars) pretrained on nuScenes' clouds; labels are not read.
_base_ = 'mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py'
custom_imports = dict(imports=['turbotrain.plugin'], allow_failed_imports=False)
model = dict(_delete_=True, type='MaskedPretrainer', detector={{_base_.model}})
train_dataloader = dict(
    dataset=dict(
        _delete_=True,  # the parent balances classes
        type='NuScenesDataset',
        data_root={{_base_.data_root}},
        ann_file='nuscenes_infos_train.pkl',
        data_prefix={{_base_.data_prefix}},
        metainfo=dict(classes={{_base_.class_names}}),
        test_mode=True,
        load_eval_anns=False,
        pipeline=[
            dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=5, use_dim=5),
            dict(
                type='LoadPointsFromMultiSweeps',
                sweeps_num=9,
                use_dim=[0, 1, 2, 3, 4],
                pad_empty_sweeps=True,
                remove_close=True,
            ),
            dict(
                type='GlobalRotScaleTrans',
                rot_range=[-0.3925, 0.3925],
                scale_ratio_range=[0.95, 1.05],
            ),
            dict(
                type='RandomFlip3D',
                sync_2d=False,
                flip_ratio_bev_horizontal=0.5,
                flip_ratio_bev_vertical=0.5,
            ),
            dict(type='PointsRangeFilter', point_cloud_range={{_base_.point_cloud_range}}),
            dict(type='PointShuffle'),
            dict(type='Pack3DDetInputs', keys=['points']),
        ],
    )
)
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
