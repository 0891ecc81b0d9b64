# finetune_mini_v2xpnp.py where agents send the maps of all their frames.
_base_ = './finetune_mini_v2xpnp.py'
model = dict(multi_step=True)
