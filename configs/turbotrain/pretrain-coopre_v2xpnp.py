# pretrain_v2xpnp.py with an objective close to CooPre's: cells of each cloud by itself, with the
# ground. Unlike CooPre, it also learns occupancy and the number of points, leaves hidden cells
# empty (no token), and draws empty cells like occupied ones.
_base_ = './pretrain_v2xpnp.py'
model = dict(
    masking=dict(_delete_=True, type='BEVCellMasking', ratio=0.7, cell_size=0.8),
    reconstruction_head=dict(_delete_=True, feat_channels=256),
    hiding='visible_only',
)
