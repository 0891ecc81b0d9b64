"""Pictures small enough to be part of a page, and rows of them that one scrolls through."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError

__all__ = ['Frame', 'Picture', 'Player', 'Still', 'embed', 'embed_all', 'read_still']

_WIDTHS = (1120, 960, 800, 640, 480, 320)
_QUALITIES = (80, 65, 50)


@dataclass(frozen=True)
class Still:
    """A picture, (height, width, 3) uint8 RGB, and what it shows in words."""

    image: np.ndarray
    alt: str


@dataclass(frozen=True)
class Picture:
    """A picture in the page: its ``data:`` address, its size in pixels, and what it shows."""

    source: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Frame:
    """What is seen at once: a picture, or none, of each run of a player."""

    label: str
    pictures: tuple[Still | Picture | None, ...]


@dataclass(frozen=True)
class Player:
    """Frames that one scrolls through.

    Attributes:
        title: what they show.
        runs: numbers of the runs that have pictures.
        frames: in order.
        note: what one has to know.
    """

    title: str
    runs: tuple[int, ...]
    frames: tuple[Frame, ...]
    note: str = ''


def read_still(path: Path, alt: str) -> Still:
    """A picture from a file.

    Raises:
        UserError: it is none.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f'{path}: is no picture that can be read')
    return Still(_resized(image, _WIDTHS[0])[..., ::-1], alt)


def embed_all(players: Sequence[Player], most_bytes: int) -> list[Player]:
    """Compress the stills of all players so that they share ``most_bytes`` of the page."""
    stills = [
        still
        for player in players
        for frame in player.frames
        for still in frame.pictures
        if still is not None
    ]
    share = most_bytes // max(len(stills), 1)

    def compressed(frame: Frame) -> Frame:
        pictures = (still and embed(still, share) for still in frame.pictures)
        return replace(frame, pictures=tuple(pictures))

    return [
        replace(player, frames=tuple(compressed(frame) for frame in player.frames))
        for player in players
    ]


def embed(still: Still, most_bytes: int) -> Picture:
    """Compress a picture, made smaller if need be.

    Args:
        still: the picture.
        most_bytes: what it may take in the page, if any size reaches that.
    """
    for width in _WIDTHS:
        image = _resized(still.image, width)
        for quality in _QUALITIES:
            options = [cv2.IMWRITE_WEBP_QUALITY, quality]
            _, data = cv2.imencode('.webp', image[..., ::-1], options)
            text = base64.b64encode(data.tobytes()).decode('ascii')
            if len(text) <= most_bytes:
                break
        if len(text) <= most_bytes:
            break
    height, width = image.shape[:2]
    return Picture(f'data:image/webp;base64,{text}', width, height, still.alt)


def _resized(image: np.ndarray, width: int) -> np.ndarray:
    """At most ``width`` pixels wide."""
    scale = min(1.0, width / image.shape[1])
    if scale == 1.0:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
