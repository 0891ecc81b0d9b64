# CoBEVFlow; trained under the same delays as FFNet.
_base_ = './ffnet_v2xpnp.py'
model = dict(temporal_neck=dict(flow_channels=2), fusion_neck=dict(type='CoBEVFlowFusion'))
