"""What the pretrainer has to know of a detector that knows nothing of the pretrainer."""

from typing import Any

from mmdet3d.models import Base3DDetector, MVXTwoStageDetector
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ..errors import SettingError

__all__ = [
    'first_map',
    'map_backbone',
    'map_channels',
    'range_of',
    'refuse_other_models',
    'trunk_channels',
]

_BACKBONES = ('backbone', 'pts_backbone')
_HEADS = ('bbox_head', 'pts_bbox_head', 'rpn_head')


def refuse_other_models(detector: dict) -> None:
    """Stop where a config is not one of a detector that lays points out on a map.

    Raises:
        SettingError: it is a segmentor's, one of images alone, or one of a detector that encodes
            neither voxels nor pillars.
    """
    name = detector.get('type')
    kind = MODELS.get(name) if isinstance(name, str) else name
    if isinstance(kind, type) and not issubclass(kind, Base3DDetector):
        raise SettingError(_no_map(name, f'it is no {Base3DDetector.__name__} of mmdet3d'))
    range_of(detector)


def range_of(detector: dict) -> list[float]:
    """The range that a detector's maps cover, from its config."""
    for path in (
        ('point_cloud_range',),
        ('data_preprocessor', 'voxel_layer', 'point_cloud_range'),
    ):
        value: Any = detector
        for key in path:
            value = (value or {}).get(key)
        if value is not None:
            return list(value)
    raise SettingError(
        _no_map(
            detector.get('type'),
            'its config has neither point_cloud_range nor '
            'data_preprocessor.voxel_layer.point_cloud_range',
        )
    )


def _no_map(name: Any, reason: str) -> str:
    return (
        f"{name} is not a detector on a bird's-eye-view map, which MaskedPretrainer pretrains: "
        f'{reason}'
    )


def trunk_channels(detector: dict) -> int:
    """Channels of the map that the detector's head gets, from its config."""
    if isinstance(detector.get('channels'), int):  # our detector gives them to its head
        return detector['channels']
    return _channels(detector, _HEADS, 'reconstruction_head.in_channels')


def map_channels(detector: dict) -> int:
    """Channels of the first map, which the 2-D backbone gets, from the config."""
    return _channels(detector, _BACKBONES, "hiding='visible_only'")


def _channels(detector: dict, parts: tuple[str, ...], remedy: str) -> int:
    for part in parts:
        channels = (detector.get(part) or {}).get('in_channels')
        if isinstance(channels, int):
            return channels
    raise SettingError(
        f'{detector.get("type")}: none of {parts} has in_channels in the config; use {remedy}'
    )


def map_backbone(detector: nn.Module) -> nn.Module:
    """The 2-D backbone, which gets the first map (K, C, H, W)."""
    for name in _BACKBONES:
        if getattr(detector, name, None) is not None:
            return getattr(detector, name)
    raise SettingError(f'{type(detector).__name__} has none of {_BACKBONES}')


def first_map(features: Any, detector: nn.Module) -> Tensor:
    """The first map (B, C, H, W) in what mmdet3d's detectors return from ``extract_feat``.

    These are a tensor, a list of maps, the features of images and of points, or a dictionary with
    ``neck_feats``.

    Args:
        features: what was returned.
        detector: by whom.

    Raises:
        SettingError: there is none.
    """
    found = features[1] if isinstance(detector, MVXTwoStageDetector) else features
    if isinstance(found, dict):
        found = found.get('neck_feats')
    while isinstance(found, (list, tuple)):
        found = found[0] if found else None
    if not isinstance(found, Tensor) or found.ndim != 4:
        raise SettingError(
            _no_map(type(detector).__name__, 'its extract_feat gives no map (B, C, H, W)')
        )
    return found
