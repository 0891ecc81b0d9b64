"""Detectors."""

from .cooperative_detector import CooperativeDetector
from .distilled_detector import DistilledCooperativeDetector
from .late_fusion_detector import LateFusionDetector

__all__ = [
    'CooperativeDetector',
    'DistilledCooperativeDetector',
    'LateFusionDetector',
]
