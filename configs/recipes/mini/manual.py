# The same on the mini dataset.
_base_ = '../manual.py'
stages = dict(
    S1=dict(config='configs/recipes/stages/mini/detection_sa-sf_mini_v2xpnp.py'),
    S2=dict(config='configs/recipes/stages/mini/prediction_sa-mf_mini_v2xpnp.py'),
    S3=dict(config='configs/recipes/stages/mini/joint_sa-mf_mini_v2xpnp.py'),
    S4=dict(config='configs/recipes/stages/mini/joint_ma-mf_mini_v2xpnp.py'),
)
epoch_iters = 32  # our choice: so many iterations stand for one of the paper's epochs
