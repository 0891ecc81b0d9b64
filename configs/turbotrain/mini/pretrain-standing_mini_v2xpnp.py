# pretrain_mini_v2xpnp.py with another objective: what stands on the ground now, from whole past
# frames and what surrounds the cells that are hidden from all agents. All values are our choice.
_base_ = './pretrain_mini_v2xpnp.py'
model = dict(
    masking=dict(type='BEVCellCoMasking', ratio=0.7, frames='current'),
    reconstruction_head=dict(ground_margin=0.2),
)
train_dataloader = dict(dataset=dict(ego='every'))
