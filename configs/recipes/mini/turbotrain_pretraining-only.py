# TurboTrain without balancing on the mini dataset: the losses are summed.
_base_ = './turbotrain.py'
stages = dict(finetuning=dict(config='configs/recipes/stages/mini/joint_ma-mf_mini_v2xpnp.py'))
