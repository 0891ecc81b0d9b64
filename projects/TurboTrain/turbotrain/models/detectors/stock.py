"""What the pretrainer has to know of a detector that knows nothing of the pretrainer."""

from typing import Any

from torch import Tensor, nn

__all__ = ['first_map', 'map_backbone', 'map_channels', 'range_of', 'trunk_channels']

_BACKBONES = ('backbone', 'pts_backbone')
_HEADS = ('bbox_head', 'pts_bbox_head', 'rpn_head')


def range_of(detector: dict) -> list[float]:
    """The range that a detector's maps cover, from its config."""
    for path in (
        ('encoder', 'point_cloud_range'),
        ('data_preprocessor', 'voxel_layer', 'point_cloud_range'),
    ):
        value: Any = detector
        for key in path:
            value = (value or {}).get(key)
        if value is not None:
            return list(value)
    raise ValueError(
        f'{detector.get("type")}: the config has neither encoder.point_cloud_range nor '
        'data_preprocessor.voxel_layer.point_cloud_range; MaskedPretrainer pretrains detectors '
        'that encode voxels or pillars'
    )


def trunk_channels(detector: dict) -> int:
    """Channels of the map that the detector's head gets, from its config."""
    return _channels(detector, _HEADS, 'reconstruction_head.in_channels')


def map_channels(detector: dict) -> int:
    """Channels of the first map, which the 2-D backbone gets, from the config."""
    return _channels(detector, _BACKBONES, "hiding='visible_only'")


def _channels(detector: dict, parts: tuple[str, ...], remedy: str) -> int:
    for part in parts:
        channels = (detector.get(part) or {}).get('in_channels')
        if isinstance(channels, int):
            return channels
    raise ValueError(
        f'{detector.get("type")}: none of {parts} has in_channels in the config; use {remedy}'
    )


def map_backbone(detector: nn.Module) -> nn.Module:
    """The 2-D backbone, which gets the first map (K, C, H, W)."""
    for name in _BACKBONES:
        if getattr(detector, name, None) is not None:
            return getattr(detector, name)
    raise ValueError(f'{type(detector).__name__} has none of {_BACKBONES}')


def first_map(features: Any) -> Tensor:
    """The first map in what mmdet3d's detectors return from ``extract_feat``.

    These are a tensor, a list of maps, the features of images (none) and of points, or a dictionary
    with ``neck_feats``.

    Raises:
        ValueError: there is none.
    """
    if isinstance(features, dict):
        features = features['neck_feats']
    while isinstance(features, (list, tuple)):
        features = next((part for part in features if part is not None), None)
    if not isinstance(features, Tensor):
        raise ValueError("the detector's extract_feat gives no bird's-eye-view map")
    return features
