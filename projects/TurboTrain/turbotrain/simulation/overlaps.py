"""Finds road users that drive through each other, as SUMO lets long vehicles do when they turn."""

import numpy as np

from .road_users import RoadUser
from .traffic import Tracks

__all__ = ['without_overlaps']

FRAME_STEP = 3  # frames between two checks
DISC_RADIUS = 0.42  # of a user's width: discs in a row that lie well within its box


def without_overlaps(tracks: Tracks) -> Tracks:
    """Leave out the smaller one of any two road users that overlap at some time.

    A box is looked at as a row of discs a little narrower than itself, so a light touch is
    allowed; people may brush past each other.
    """
    gone: set[int] = set()
    lengths = np.array([user.size[0] for user in tracks.users])
    person = np.array([user.shape == 'person' for user in tracks.users])
    for frame in range(0, tracks.present.shape[1], FRAME_STEP):
        here = [i for i in np.flatnonzero(tracks.present[:, frame]).tolist() if i not in gone]
        if not here:
            continue
        discs = [
            _discs(tracks.users[i], tracks.centre[i, frame], tracks.yaw[i, frame]) for i in here
        ]
        place = np.concatenate([centres for centres, _ in discs])
        radius = np.repeat([value for _, value in discs], [len(item) for item, _ in discs])
        owner = np.repeat(here, [len(centres) for centres, _ in discs])
        apart = np.linalg.norm(place[:, None] - place[None], axis=-1)
        meets = (apart < radius[:, None] + radius) & (owner[:, None] < owner)
        meets &= ~(person[owner][:, None] & person[owner])
        for one, two in {(int(owner[i]), int(owner[j])) for i, j in np.argwhere(meets)}:
            gone.add(one if lengths[one] < lengths[two] else two)
    kept = [i for i in range(len(tracks.users)) if i not in gone]
    return Tracks(
        [tracks.users[i] for i in kept],
        tracks.centre[kept],
        tracks.yaw[kept],
        tracks.present[kept],
    )


def _discs(user: RoadUser, centre: np.ndarray, yaw: float) -> tuple[np.ndarray, float]:
    """Centres (D, 2) and radius, metres, of the discs along a box's length."""
    length, width, _ = user.size
    radius = DISC_RADIUS * min(width, length)
    along = np.linspace(-1.0, 1.0, int(np.ceil(length / width)) + 1) * (length / 2 - radius)
    return centre + along[:, None] * (np.cos(yaw), np.sin(yaw)), radius
