"""Whether a model's map and the data it gets cover the same range, in steps of the same length."""

from mmengine.config import Config

from ..errors import SettingError
from ..models.ranges import parts_in, ranges_in, refuse_other_ranges, refuse_outside

__all__ = ['check_ranges', 'check_steps']

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_EVALUATORS = ('val_evaluator', 'test_evaluator')
_STEP = 0.5  # s, the default of the data set and of all that forecasts
_STEPS = {'VelocityHead': 'step', 'TrajectoryHead': 'step', 'LateFusionDetector': 'step_interval'}


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


def check_steps(cfg: Config) -> None:
    """Compare the time from one position to the next that our heads and data sets are told.

    Raises:
        SettingError: two of them disagree; names both.
    """
    model = [
        (f'{name}.{key}', part.get(key, _STEP))
        for name, part in parts_in(cfg.model, 'model')
        if (key := _STEPS.get(str(part.get('type'))))
    ]
    for place, data in parts_in({loader: cfg.get(loader) for loader in _LOADERS}):
        if data.get('type') == 'V2XPnPDataset':
            step = data.get('step', _STEP)
            for name, other in model:
                if other != step:
                    raise SettingError(
                        f'{place}.step is {step:g} s, but {name} is {other:g} s: both are the time '
                        'from one position to the next. Set both alike'
                    )
