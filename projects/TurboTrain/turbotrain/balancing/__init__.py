"""Gradient conflict suppression for any mmengine model."""

from .aggregators import *  # noqa: F403
from .aggregators import __all__ as _aggregators
from .bfloat16 import BFloat16ConflictSuppressingOptimWrapper, BFloat16OptimWrapper
from .feature_gradients import FeatureGradients
from .layer_conflict import layer_conflict
from .loss_balancers import *  # noqa: F403
from .loss_balancers import __all__ as _loss_balancers
from .losses import task_losses
from .optim_wrapper import AmpConflictSuppressingOptimWrapper, ConflictSuppressingOptimWrapper
from .schedule import SCHEDULES, PeriodicSchedule, Schedule, WhenNeededSchedule
from .task_gradients import TaskGradients

__all__ = [
    *_aggregators,
    *_loss_balancers,
    'SCHEDULES',
    'AmpConflictSuppressingOptimWrapper',
    'BFloat16ConflictSuppressingOptimWrapper',
    'BFloat16OptimWrapper',
    'ConflictSuppressingOptimWrapper',
    'FeatureGradients',
    'PeriodicSchedule',
    'Schedule',
    'TaskGradients',
    'WhenNeededSchedule',
    'layer_conflict',
    'task_losses',
]
