"""Hiding parts of point clouds from a network that is to reconstruct them."""

from .base import BaseMasking, CloudLayout, HiddenCells, MaskedClouds
from .strategies import BEVCellCoMasking, BEVCellMasking

__all__ = [
    'BEVCellCoMasking',
    'BEVCellMasking',
    'BaseMasking',
    'CloudLayout',
    'HiddenCells',
    'MaskedClouds',
]
