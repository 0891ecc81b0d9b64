"""Whether a model's map and the data it gets cover the same range."""

from mmengine.config import Config

from ..models.ranges import ranges_in, refuse_other_ranges, refuse_outside

__all__ = ['check_ranges']

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_EVALUATORS = ('val_evaluator', 'test_evaluator')


def check_ranges(cfg: Config) -> None:
    """Compare the range of our detectors with all others in a config.

    Filters of the pipelines have to have the same range in x and y, so that no part of the map
    stays empty and no object lies beyond it. Evaluation may look at less, and boxes that agents
    send each other may lie further away. Detectors of mmdet3d are left to their own configs.

    Raises:
        SettingError: two places disagree; names both.
    """
    model = cfg.model.get('detector') or cfg.model
    limits = model.get('point_cloud_range')
    if limits is None:
        return
    prefix = 'model.detector' if 'detector' in cfg.model else 'model'
    reference = f'{prefix}.point_cloud_range', limits
    refuse_other_ranges(*reference, {prefix: model})
    refuse_other_ranges(*reference, {loader: cfg.get(loader) for loader in _LOADERS})
    if model.type == 'LateFusionDetector':
        return
    for name, bounds in ranges_in({e: cfg.get(e) for e in _EVALUATORS}, ('eval_range',)):
        refuse_outside(name, bounds, *reference)
