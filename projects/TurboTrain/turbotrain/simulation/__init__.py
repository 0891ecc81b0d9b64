"""Simulates cooperative LiDAR recordings and writes them in the V2XPnP-Seq format.

SUMO moves the traffic, embreex casts the LiDARs' rays against meshes of everything on the site.
"""

from .dataset import PRESETS, SetOptions, simulate_dataset
from .scenario import SensorOptions
from .sumo_programs import SumoError

__all__ = ['PRESETS', 'SensorOptions', 'SetOptions', 'SumoError', 'simulate_dataset']
