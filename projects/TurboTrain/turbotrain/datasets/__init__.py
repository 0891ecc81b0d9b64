"""From the disk to samples."""

from .infos import Infos, build_infos, load_infos, save_infos
from .samplers import EpochIndexSampler
from .transforms import *  # noqa: F403 - registers the transforms
from .v2xpnp_dataset import V2XPnPDataset

__all__ = ['EpochIndexSampler', 'Infos', 'V2XPnPDataset', 'build_infos', 'load_infos', 'save_infos']
