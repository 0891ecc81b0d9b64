# V2XSet: OPV2V with roadside units.
_base_ = './opv2v.py'
data_root = 'data/v2xset'
mode = '{{$V2X_MODE:vc}}'
train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='v2xset_infos_train.npz', mode=mode)
)
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file='v2xset_infos_val.npz', mode=mode))
test_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='v2xset_infos_test.npz', mode=mode)
)
