"""One file per thing on disk."""

from .annotation import Annotation, read_annotation
from .cloud_layout import CloudLayout, guess_layout
from .dialects import DIALECTS, Dialect, resolve_dialect
from .errors import DataFileError, MissingFileError, said, shown
from .files import list_folder, read_bytes
from .last_read import last_read
from .pickles import read_trajectories, read_vector_map
from .point_cloud import CLOUD_SUFFIXES, read_point_cloud, usable_points
from .scenario import AGENT, AgentFrame, list_scenarios, scan_scenario

__all__ = [
    'AGENT',
    'CLOUD_SUFFIXES',
    'DIALECTS',
    'AgentFrame',
    'Annotation',
    'CloudLayout',
    'DataFileError',
    'Dialect',
    'MissingFileError',
    'guess_layout',
    'last_read',
    'list_folder',
    'list_scenarios',
    'read_annotation',
    'read_bytes',
    'read_point_cloud',
    'read_trajectories',
    'read_vector_map',
    'resolve_dialect',
    'said',
    'scan_scenario',
    'shown',
    'usable_points',
]
