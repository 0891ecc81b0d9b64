"""Hiding parts of point clouds from a network that is to reconstruct them."""

from .base import BaseMasking, CloudLayout, HiddenCells, HiddenRegion, MaskedClouds
from .strategies import (
    BEVCellCoMasking,
    BEVCellMasking,
    MixedMasking,
    WholeAgentMasking,
    WholeFrameMasking,
)

__all__ = [
    'BEVCellCoMasking',
    'BEVCellMasking',
    'BaseMasking',
    'CloudLayout',
    'HiddenCells',
    'HiddenRegion',
    'MaskedClouds',
    'MixedMasking',
    'WholeAgentMasking',
    'WholeFrameMasking',
]
