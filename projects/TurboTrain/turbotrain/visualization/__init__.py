"""Pictures of samples."""

from .bev import AGENT_COLORS, draw_bev, save_figure
from .reconstruction import draw_reconstruction
from .samples import scene_of
from .scene import AgentView, BEVScene

__all__ = [
    'AGENT_COLORS',
    'AgentView',
    'BEVScene',
    'draw_bev',
    'draw_reconstruction',
    'save_figure',
    'scene_of',
]
