# The same on the mini dataset.
_base_ = '../one-time_sa-mf.py'
stages = dict(
    joint=dict(config='configs/recipes/stages/mini/joint_sa-mf_mini_v2xpnp.py'),
)
epoch_iters = 32  # our choice: so many iterations stand for one of the paper's epochs
