"""In what the datasets of the OpenCOOD family differ, once their files are found."""

from dataclasses import dataclass

__all__ = ['DIALECTS', 'Dialect', 'resolve_dialect']


@dataclass(frozen=True)
class Dialect:
    """How one dataset writes what all of them say.

    Poses are six numbers or a 4x4 matrix in every one of them; the reader sees which.

    Attributes:
        left_handed: the world, the agents' frames and the clouds have y to the right, as in CARLA.
            Readers mirror y, so that everything behind them is right-handed.
        objects_in_agent: objects are given in the agent's own LiDAR frame, not in the world.
        default_type: class of an object that names none; None makes ``obj_type`` a required key.
        association_ids: ``ass_id`` tells objects apart across agents. Where it is -1 an agent saw
            the object alone, and an id that no other object of the scenario has stands for it.
            V2V4Real's own loader takes ``object id + 100 * agent id``, which can be another's.
        frame_rate: the unit of frame numbers, Hz. OPV2V and V2XSet count simulation steps of 50 ms
            and record every second of them.
    """

    left_handed: bool = False
    objects_in_agent: bool = False
    default_type: str | None = None
    association_ids: bool = False
    frame_rate: float = 10.0


DIALECTS = {
    'v2xpnp': Dialect(),
    'v2xreal': Dialect(),
    'opv2v': Dialect(left_handed=True, default_type='Car', frame_rate=20.0),
    'v2xset': Dialect(left_handed=True, default_type='Car', frame_rate=20.0),
    'v2v4real': Dialect(objects_in_agent=True, default_type='Car', association_ids=True),
}


def resolve_dialect(name: str) -> Dialect:
    """The dialect of a dataset.

    Raises:
        ValueError: no dataset of that name is known.
    """
    if name not in DIALECTS:
        raise ValueError(f'dataset {name!r} is unknown; known: {sorted(DIALECTS)}')
    return DIALECTS[name]
