"""Simulates cooperative LiDAR recordings and writes them in the V2XPnP-Seq format, or DAIR-V2X's.

SUMO moves the traffic, embreex casts the LiDARs' rays against meshes of everything on the site.
"""

from .dair_layout import DAIR_LAYOUTS, rewrite_as_dair
from .dataset import PRESETS, SetOptions, simulate_dataset
from .scenario import SensorOptions
from .sumo_programs import SumoError

__all__ = [
    'DAIR_LAYOUTS',
    'PRESETS',
    'SensorOptions',
    'SetOptions',
    'SumoError',
    'rewrite_as_dair',
    'simulate_dataset',
]
