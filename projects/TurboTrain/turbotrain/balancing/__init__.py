"""Gradient conflict suppression for any mmengine model."""

from .aggregation import AGGREGATORS, PCGrad, PlainSum
from .optim_wrapper import AmpConflictSuppressingOptimWrapper, ConflictSuppressingOptimWrapper
from .schedule import SCHEDULES, PeriodicSchedule
from .task_gradients import TaskGradients, task_losses

__all__ = [
    'AGGREGATORS',
    'SCHEDULES',
    'AmpConflictSuppressingOptimWrapper',
    'ConflictSuppressingOptimWrapper',
    'PCGrad',
    'PeriodicSchedule',
    'PlainSum',
    'TaskGradients',
    'task_losses',
]
