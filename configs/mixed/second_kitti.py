# mmdet3d's SECOND on KITTI, from scratch; its sparse encoder also runs on a CPU and on new torch.
_base_ = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'
custom_imports = dict(imports=['turbotrain.plugin'], allow_failed_imports=False)
model = dict(middle_encoder=dict(type='PortableSparseEncoder'))
