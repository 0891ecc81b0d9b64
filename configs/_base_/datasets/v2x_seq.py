# V2X-Seq (SPD): DAIR-V2X-C's successor, with tracks: forecasts can be trained.
_base_ = './dair_v2x_c.py'
data_root = 'data/v2x_seq'
family = dict(data_root=data_root, num_future=6)
train_dataloader = dict(dataset=dict(**family, ann_file='v2x_seq_infos_train.npz'))
val_dataloader = dict(dataset=dict(**family, ann_file='v2x_seq_infos_val.npz'))
test_dataloader = val_dataloader
