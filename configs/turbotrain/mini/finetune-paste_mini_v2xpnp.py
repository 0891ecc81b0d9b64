# finetune_mini_v2xpnp.py on scenes with more objects, from tools/create_object_database.py.
_base_ = './finetune_mini_v2xpnp.py'
paste = dict(
    type='CooperativeObjectPaste',
    database='data/mini_v2xpnp/objects.npz',
    numbers=dict(vehicle=15, pedestrian=8, truck=6),
)
train_pipeline = [
    *_base_.load,
    paste,
    *_base_.project,
    *_base_.augment,
    *_base_.crop,
    *_base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
