# What every config shares: imports, hooks, logging.
custom_imports = dict(imports=['turbotrain.plugin'], allow_failed_imports=False)
default_scope = 'mmdet3d'
# How work directories end in other modes than vc, as commands/config.py names them: stage 2 starts
# from stage 1 of its own mode.
of_mode = '-{{$V2X_MODE:vc}}'.replace('-vc', '')

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # The best one by validation is kept beside the last two; by a metric that every model has.
    checkpoint=dict(
        type='DurableCheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_best='mAP@0.5',
        rule='greater',
    ),
    draw_samples=dict(type='DrawSamplesHook', count=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    plain_checkpoint=dict(type='PlainCheckpointHook'),
    exact_resume=dict(type='ExactResumeHook'),
    missed_validation=dict(type='MissedValidationHook'),
    numerical_faults=dict(type='NumericalFaultHook', max_skipped=50),  # our choice
    trained_parts=dict(type='TrainedPartsHook'),
    sync_statistics=dict(type='SyncNormStatisticsHook'),
)
env_cfg = dict(cudnn_benchmark=False, dist_cfg=dict(backend='nccl'))
log_processor = dict(type='LogProcessor', window_size=10, by_epoch=True)
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
