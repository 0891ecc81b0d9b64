# mmdet3d's CenterPoint on nuScenes, from the weights that centerpoint_nuscenes_pretrain.py leaves.
_base_ = 'mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py'
custom_imports = dict(imports=['turbotrain.plugin'], allow_failed_imports=False)
load_from = 'work_dirs/centerpoint_nuscenes_pretrain/epoch_20.pth'
custom_hooks = [dict(type='TransferReportHook', fresh=('pts_bbox_head',))]
