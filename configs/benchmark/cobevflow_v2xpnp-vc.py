# CoBEVFlow, mode vc; trained under the same delays as FFNet.
_base_ = './ffnet_v2xpnp-vc.py'
model = dict(temporal_neck=dict(flow_channels=2), fusion_neck=dict(type='CoBEVFlowFusion'))
