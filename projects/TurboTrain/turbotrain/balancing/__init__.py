"""Gradient conflict suppression for any mmengine model."""

from .aggregators import *  # noqa: F403
from .aggregators import __all__ as _aggregators
from .feature_gradients import FeatureGradients
from .layer_conflict import layer_conflict
from .loss_balancers import (
    LOSS_BALANCERS,
    DynamicWeightAverage,
    FixedWeights,
    GradNorm,
    LossBalancer,
    UncertaintyWeighting,
)
from .losses import task_losses
from .optim_wrapper import AmpConflictSuppressingOptimWrapper, ConflictSuppressingOptimWrapper
from .schedule import (
    SCHEDULES,
    FractionSchedule,
    PeriodicSchedule,
    PhaseSchedule,
    Schedule,
    WhenNeededSchedule,
)
from .task_gradients import TaskGradients

__all__ = [
    *_aggregators,
    'LOSS_BALANCERS',
    'SCHEDULES',
    'AmpConflictSuppressingOptimWrapper',
    'ConflictSuppressingOptimWrapper',
    'DynamicWeightAverage',
    'FeatureGradients',
    'FixedWeights',
    'FractionSchedule',
    'GradNorm',
    'LossBalancer',
    'PeriodicSchedule',
    'PhaseSchedule',
    'Schedule',
    'TaskGradients',
    'UncertaintyWeighting',
    'WhenNeededSchedule',
    'layer_conflict',
    'task_losses',
]
