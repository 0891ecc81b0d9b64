"""From the disk to samples."""

from .. import patches  # noqa: F401 - before mmdet3d is imported
from .class_maps import CLASS_MAPS
from .ignore_list import IgnoreList, load_ignore_list, save_ignore_list
from .info_builder import build_infos
from .info_file import load_infos, save_infos
from .infos import Infos
from .modes import MODES
from .samplers import EpochIndexSampler, repeated_draws
from .transforms import *  # noqa: F403 - registers the transforms
from .truth_index import TruthIndex
from .v2xpnp_dataset import V2XPnPDataset
from .wrappers import EpochIndexDataset, check_metainfo, innermost

__all__ = [
    'CLASS_MAPS',
    'MODES',
    'EpochIndexDataset',
    'EpochIndexSampler',
    'IgnoreList',
    'Infos',
    'TruthIndex',
    'V2XPnPDataset',
    'build_infos',
    'check_metainfo',
    'innermost',
    'load_ignore_list',
    'load_infos',
    'repeated_draws',
    'save_ignore_list',
    'save_infos',
]
