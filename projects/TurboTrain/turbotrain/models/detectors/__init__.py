"""Detectors."""

from .agent_batch import AgentBatch
from .cooperative_detector import CooperativeDetector
from .cooperative_trunk import CooperativeTrunk
from .distilled_detector import DistilledCooperativeDetector
from .late_fusion_detector import LateFusionDetector

__all__ = [
    'AgentBatch',
    'CooperativeDetector',
    'CooperativeTrunk',
    'DistilledCooperativeDetector',
    'LateFusionDetector',
]
