# mmdet3d's PointPillars on KITTI; classification, boxes and directions are three tasks.
_base_ = 'mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py'
custom_imports = dict(imports=['turbotrain.plugin'], allow_failed_imports=False)
optim_wrapper = dict(
    type='ConflictSuppressingOptimWrapper',
    tasks=dict(classification=['loss_cls'], boxes=['loss_bbox'], directions=['loss_dir']),
    schedule=dict(type='WhenNeededSchedule'),
)
custom_hooks = [dict(type='ConflictPlotHook')]
