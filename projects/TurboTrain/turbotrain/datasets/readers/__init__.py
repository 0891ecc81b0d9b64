"""One file per thing on disk."""

from .annotation import Annotation, read_annotation
from .errors import DataFileError
from .pickles import read_trajectories, read_vector_map
from .point_cloud import read_point_cloud
from .scenario import AgentFrame, list_scenarios, scan_scenario

__all__ = [
    'AgentFrame',
    'Annotation',
    'DataFileError',
    'list_scenarios',
    'read_annotation',
    'read_point_cloud',
    'read_trajectories',
    'read_vector_map',
    'scan_scenario',
]
