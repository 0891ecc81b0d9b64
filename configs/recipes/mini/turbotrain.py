# The same on the mini dataset.
_base_ = '../turbotrain.py'
stages = dict(
    pretraining=dict(config='configs/turbotrain/mini/pretrain_mini_v2xpnp.py'),
    finetuning=dict(config='configs/turbotrain/mini/finetune_mini_v2xpnp.py'),
)
epoch_iters = 32  # our choice: so many iterations stand for one of the paper's epochs
