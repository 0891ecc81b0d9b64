# mmdet3d's SECOND on KITTI, from the weights that second_kitti_pretrain.py leaves.
_base_ = './second_kitti.py'
load_from = 'work_dirs/second_kitti_pretrain/epoch_40.pth'
custom_hooks = [dict(type='TransferReportHook', fresh=('bbox_head',))]
