"""Transforms of samples."""

from .cooperation import (
    CooperativeGlobalAugmentation,
    CooperativeRangeFilter,
    EgoOnly,
    MergeAgentPoints,
    ProjectPointsToEgo,
)
from .degradation import (
    CooperativeAgentDropout,
    CooperativeDelay,
    CooperativePacketLoss,
    CooperativePoseNoise,
)
from .formatting import PackCooperativeInputs
from .loading import LoadCooperativePoints, LoadFuturePoints, LoadVectorMap
from .object_paste import CooperativeObjectPaste

__all__ = [
    'CooperativeAgentDropout',
    'CooperativeDelay',
    'CooperativeGlobalAugmentation',
    'CooperativeObjectPaste',
    'CooperativePacketLoss',
    'CooperativePoseNoise',
    'CooperativeRangeFilter',
    'EgoOnly',
    'LoadCooperativePoints',
    'LoadFuturePoints',
    'LoadVectorMap',
    'MergeAgentPoints',
    'PackCooperativeInputs',
    'ProjectPointsToEgo',
]
