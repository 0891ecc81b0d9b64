# finetune_mini_v2xpnp.py with messages of a 64th: a sixteenth of the channels, 8 bits each.
_base_ = './finetune_mini_v2xpnp.py'
model = dict(compression=dict(type='FeatureCompression', ratio=16, bits=8))
