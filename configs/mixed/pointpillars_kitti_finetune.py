# mmdet3d's PointPillars on KITTI, from the weights that pointpillars_kitti_pretrain.py leaves.
_base_ = 'mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py'
custom_imports = dict(imports=['turbotrain.plugin'], allow_failed_imports=False)
load_from = 'work_dirs/pointpillars_kitti_pretrain/epoch_80.pth'
custom_hooks = [dict(type='TransferReportHook', fresh=('bbox_head',))]
