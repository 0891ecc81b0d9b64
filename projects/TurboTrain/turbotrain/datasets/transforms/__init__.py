"""Transforms of samples."""

from .cooperation import (
    CooperativeGlobalAugmentation,
    CooperativeRangeFilter,
    ProjectPointsToEgo,
)
from .formatting import PackCooperativeInputs
from .loading import LoadCooperativePoints, LoadVectorMap

__all__ = [
    'CooperativeGlobalAugmentation',
    'CooperativeRangeFilter',
    'LoadCooperativePoints',
    'LoadVectorMap',
    'PackCooperativeInputs',
    'ProjectPointsToEgo',
]
