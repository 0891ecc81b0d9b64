# The same on the mini dataset.
_base_ = '../one-time_ma-sf.py'
stages = dict(
    detection=dict(config='configs/recipes/stages/mini/detection_ma-sf_mini_v2xpnp.py'),
)
epoch_iters = 32  # our choice: so many iterations stand for one of the paper's epochs
