"""In what the datasets differ, once their files are found."""

from dataclasses import dataclass

from ...errors import SettingError

__all__ = ['DIALECTS', 'DairDialect', 'Dialect', 'resolve_dialect']


@dataclass(frozen=True)
class Dialect:
    """How one dataset writes what all of them say; by itself, one of the OpenCOOD family.

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
        tracks: an object's id is the same in all frames of a scenario. Without tracks nothing says
            where objects were or will be.
        byte_intensity: some clouds have intensities of 0 to 255, others of 0 to 1.
        camera_key: pattern of the keys that annotations have for cameras; empty if they have none.
            Axes of cameras are OpenCV's, and CARLA's where the world is left-handed.
        extrinsic: what a camera's ``extrinsic`` is, see ``cameras.EXTRINSICS``.
    """

    left_handed: bool = False
    objects_in_agent: bool = False
    default_type: str | None = None
    association_ids: bool = False
    frame_rate: float = 10.0
    tracks: bool = True
    byte_intensity: bool = False
    camera_key: str = 'cam[0-9](_left)?'
    extrinsic: str = 'lidar_from_camera'


@dataclass(frozen=True)
class DairDialect(Dialect):
    """How DAIR-V2X-C or V2X-Seq writes what both say: one folder a side, and lists of frames.

    Attributes:
        split_file: which vehicle frames belong to which split.
        label_folder: where the cooperative labels are.
        labels: the frame of their boxes, ``world`` (eight corners) or ``vehicle`` (a centre, sizes
            and a yaw in the vehicle's LiDAR frame).
        correction: the frame in whose axes ``system_error_offset`` acts, ``world`` or ``vehicle``.
    """

    byte_intensity: bool = True
    split_file: str = ''
    label_folder: str = ''
    labels: str = ''
    correction: str = ''


_CARLA = Dialect(
    left_handed=True,
    default_type='Car',
    frame_rate=20.0,
    camera_key='camera[0-9]',
    extrinsic='camera_from_lidar',
)
DIALECTS = {
    'v2xpnp': Dialect(),
    'v2xreal': Dialect(),
    'opv2v': _CARLA,
    'v2xset': _CARLA,
    'v2v4real': Dialect(
        objects_in_agent=True, default_type='Car', association_ids=True, camera_key=''
    ),
    'dair_v2x_c': DairDialect(
        tracks=False,
        split_file='cooperative-split-data.json',
        label_folder='label_world',
        labels='world',
        correction='world',
    ),
    'v2x_seq': DairDialect(
        split_file='cooperative-split-data-spd.json',
        label_folder='label',
        labels='vehicle',
        correction='vehicle',
    ),
}


def resolve_dialect(name: str) -> Dialect:
    """The dialect of a dataset.

    Raises:
        SettingError: no dataset of that name is known.
    """
    if name not in DIALECTS:
        raise SettingError(f'dataset {name!r} is unknown; known: {sorted(DIALECTS)}')
    return DIALECTS[name]
