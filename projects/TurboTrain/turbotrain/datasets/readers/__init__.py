"""One file per thing on disk."""

from .annotation import Annotation, read_annotation
from .cameras import EXTRINSICS, Camera, read_cameras, read_image
from .cloud_layout import CloudLayout, guess_layout
from .dair_frames import DairFrame, Oddity
from .dair_index import LABELS
from .dialects import DIALECTS, DairDialect, Dialect, resolve_dialect
from .errors import DataFileError, MissingFileError, said, shown
from .files import list_folder, read_bytes
from .last_read import last_read
from .pickles import read_trajectories, read_vector_map
from .point_cloud import CLOUD_SUFFIXES, read_point_cloud, usable_points
from .scenario import AGENT, AgentFrame, list_scenarios, scan_scenario
from .source import DairSource, FolderSource, Source, open_source, read_moment

__all__ = [
    'AGENT',
    'CLOUD_SUFFIXES',
    'DIALECTS',
    'EXTRINSICS',
    'LABELS',
    'AgentFrame',
    'Annotation',
    'Camera',
    'CloudLayout',
    'DairDialect',
    'DairFrame',
    'DairSource',
    'DataFileError',
    'Dialect',
    'FolderSource',
    'MissingFileError',
    'Oddity',
    'Source',
    'guess_layout',
    'last_read',
    'list_folder',
    'list_scenarios',
    'open_source',
    'read_annotation',
    'read_bytes',
    'read_cameras',
    'read_image',
    'read_moment',
    'read_point_cloud',
    'read_trajectories',
    'read_vector_map',
    'resolve_dialect',
    'said',
    'scan_scenario',
    'shown',
    'usable_points',
]
