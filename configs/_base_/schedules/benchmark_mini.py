# The benchmark's methods on the mini dataset: one pass. All values are our choice.
_base_ = './benchmark_30e.py'
lr = 2e-3
train_cfg = dict(max_epochs=1, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=40),
    dict(type='CosineAnnealingLR', T_max=1, end=1, eta_min=lr / 20, convert_to_iter_based=True),
]
