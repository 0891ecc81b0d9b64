"""Detectors and the pretrainer of their trunks."""

from .cooperative_detector import CooperativeDetector
from .distilled_detector import DistilledCooperativeDetector
from .late_fusion_detector import LateFusionDetector
from .masked_pretrainer import MaskedPretrainer

__all__ = [
    'CooperativeDetector',
    'DistilledCooperativeDetector',
    'LateFusionDetector',
    'MaskedPretrainer',
]
