"""Pictures of samples."""

from .animation import VIDEO_SUFFIXES, BEVAnimation, write_video
from .bev import draw_bev, picture_of, save_figure
from .camera_scene import CameraScene, CameraView, camera_scene
from .cameras import CLASS_COLORS, draw_cameras
from .objects import AGENT_COLORS
from .reconstruction import draw_reconstruction, reconstruct_and_draw
from .samples import first_agents, scene_of
from .scene import AgentView, BEVScene

__all__ = [
    'AGENT_COLORS',
    'CLASS_COLORS',
    'VIDEO_SUFFIXES',
    'AgentView',
    'BEVAnimation',
    'BEVScene',
    'CameraScene',
    'CameraView',
    'camera_scene',
    'draw_bev',
    'draw_cameras',
    'draw_reconstruction',
    'first_agents',
    'picture_of',
    'reconstruct_and_draw',
    'save_figure',
    'scene_of',
    'write_video',
]
