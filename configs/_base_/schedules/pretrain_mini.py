# Stage 1 on the mini dataset: one pass. All values are our choice.
_base_ = './pretrain_15e.py'
lr = 3e-3
pretrainer = dict(reconstruction_head=dict(feat_channels=32, max_targets=32))
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_epochs=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=40),
    dict(type='CosineAnnealingLR', T_max=1, end=1, eta_min=lr / 20, convert_to_iter_based=True),
]
