"""Detectors and the pretrainer of their trunks."""

from .cooperative_detector import CooperativeDetector
from .masked_pretrainer import MaskedPretrainer

__all__ = ['CooperativeDetector', 'MaskedPretrainer']
