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
from .object_paste import CooperativeObjectPaste

__all__ = [
    'CooperativeAgentDropout',
    'CooperativeDelay',
    'CooperativeGlobalAugmentation',
    'CooperativeObjectPaste',
    'CooperativePacketLoss',
    'CooperativePoseNoise',
    'CooperativeRangeFilter',
    'LoadCooperativePoints',
    'LoadVectorMap',
    'PackCooperativeInputs',
    'ProjectPointsToEgo',
]
