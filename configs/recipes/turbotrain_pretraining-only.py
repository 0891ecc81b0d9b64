# TurboTrain without balancing: the losses are summed.
_base_ = './turbotrain.py'
stages = dict(finetuning=dict(config='configs/recipes/stages/joint_ma-mf_v2xpnp.py'))
