"""Transforms of samples."""

from .cooperation import (
    CooperativeGlobalAugmentation,
    CooperativeRangeFilter,
    ProjectPointsToEgo,
)
from .degradation import (
    CooperativeAgentDropout,
    CooperativeDelay,
    CooperativePacketLoss,
    CooperativePoseNoise,
)
from .formatting import PackCooperativeInputs
from .loading import LoadCooperativePoints, LoadVectorMap

__all__ = [
    'CooperativeAgentDropout',
    'CooperativeDelay',
    'CooperativeGlobalAugmentation',
    'CooperativePacketLoss',
    'CooperativePoseNoise',
    'CooperativeRangeFilter',
    'LoadCooperativePoints',
    'LoadVectorMap',
    'PackCooperativeInputs',
    'ProjectPointsToEgo',
]
