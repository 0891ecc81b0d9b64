"""Ways to make one gradient of the tasks' gradients."""

from .base import AGGREGATORS, Aggregator
from .pcgrad import PCGrad
from .plain_sum import PlainSum
from .torchjd_graddrop import GradDrop
from .torchjd_gram import (
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    RandomOrderPCGrad,
    TorchJDAggregator,
    UPGrad,
)
from .torchjd_stateful import GradVac, NashMTL

__all__ = [
    'AGGREGATORS',
    'IMTLG',
    'MGDA',
    'Aggregator',
    'AlignedMTL',
    'CAGrad',
    'ConFIG',
    'DualProj',
    'GradDrop',
    'GradVac',
    'NashMTL',
    'PCGrad',
    'PlainSum',
    'RandomOrderPCGrad',
    'TorchJDAggregator',
    'UPGrad',
]
