# CoBEVFlow on the mini dataset; trained under the same delays as FFNet.
_base_ = './ffnet_mini_v2xpnp.py'
model = dict(temporal_neck=dict(flow_channels=2), fusion_neck=dict(type='CoBEVFlowFusion'))
