# mmdet3d's CenterPoint on nuScenes; the heads of its six groups of classes are six tasks.
_base_ = 'mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py'
custom_imports = dict(imports=['turbotrain.plugin'], allow_failed_imports=False)
optim_wrapper = dict(
    type='ConflictSuppressingOptimWrapper',
    tasks=dict(
        car=['task0.*'],
        truck=['task1.*'],  # and construction vehicles
        bus=['task2.*'],  # and trailers
        barrier=['task3.*'],
        cycle=['task4.*'],  # motorcycles and bicycles
        pedestrian=['task5.*'],  # and traffic cones
    ),
    # Six walks through the trunk would cost too much: it is walked once.
    level='features',
    features='pts_bbox_head.shared_conv',
)
custom_hooks = [dict(type='ConflictPlotHook')]
