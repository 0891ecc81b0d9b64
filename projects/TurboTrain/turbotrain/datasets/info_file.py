"""Info files: everything a split's annotations say, as a few flat arrays in one ``.npz``.

An annotation YAML is parsed once, when the info file is made.
"""

from os.path import basename, dirname

import numpy as np

from .archives import Column, check_columns, check_runs, read_archive, write_archive
from .infos import Infos
from .readers import DIALECTS, LABELS, DataFileError

__all__ = ['INFO_VERSION', 'dataset_of', 'load_infos', 'making_of', 'save_infos']

INFO_VERSION = 3  # 3: no object is lost where ids meet
_FORMAT = 'turbotrain-infos'
_FAR = 1e13  # no place is that far, and no angle that large
_COLUMNS = dict(
    dataset=Column(str, ()),
    scenarios=Column(str, ('scenarios',)),
    class_names=Column(str, ('classes',)),
    agent=Column(np.int32, ('rows',), -(10**9), 10**9),
    scenario=Column(np.int32, ('rows',), 0),
    frame=Column(np.int32, ('rows',), 0, 10**9),
    world_from_agent=Column(np.float64, ('rows', 4, 4), -_FAR, _FAR),
    cloud=Column(str, ('rows',)),
    object_begin=Column(np.int64, ('rows+1',), 0),
    object_id=Column(np.int64, ('objects',)),
    object_class=Column(np.int16, ('objects',), 0),
    object_centre=Column(np.float64, ('objects', 3), -_FAR, _FAR),
    object_angle=Column(np.float32, ('objects', 3), -_FAR, _FAR),
    object_extent=Column(np.float32, ('objects', 3), np.finfo(np.float32).tiny, _FAR),
    lag=Column(np.float32, ('rows',), -1e6, 1e6, default=np.float32(0)),
    labelled=Column(np.bool_, ('rows',), default=True),
    labels=Column(str, (), default=LABELS[0]),
)
_OPTIONAL = {key: column for key, column in _COLUMNS.items() if column.default is not None}


def save_infos(path: str, infos: Infos) -> None:
    """Write an info file; a file of that name is replaced only once the new one is whole.

    Raises:
        DataFileError: :func:`load_infos` would refuse it; nothing is written.
    """
    _check(path, infos, 'it is not written')
    arrays = {key: getattr(infos, key) for key in _COLUMNS}
    for key, column in _OPTIONAL.items():
        if (arrays[key] == column.default).all():
            del arrays[key]
    write_archive(path, _FORMAT, INFO_VERSION, arrays)


def dataset_of(path: str) -> str | None:
    """The dataset of an info file by its name, None if that begins with none's."""
    dataset = basename(path).partition('_infos_')[0]
    return dataset if dataset in DIALECTS else None


def making_of(path: str) -> str:
    """The command that makes an info file."""
    dataset = dataset_of(path)
    words = f'{dataset or "DATASET"} --root-path {dirname(path) or "."}'
    known = '' if dataset else f', where DATASET is one of {", ".join(DIALECTS)}'
    return f"'python tools/create_data.py {words}'{known}"


def load_infos(path: str, backend_args: dict | None = None) -> Infos:
    """Read an info file.

    Args:
        path: the file.
        backend_args: where mmengine's fileio finds it; local disk by default.

    Raises:
        DataFileError: the file is missing, damaged, of another format or of another version.
    """
    remedy = f'make it anew with {making_of(path)}'
    arrays = read_archive(path, _FORMAT, INFO_VERSION, _COLUMNS, remedy, backend_args, _OPTIONAL)
    for key, column in _OPTIONAL.items():
        shape = arrays['agent'].shape[:1] if column.shape else ()
        # Without memory of their own: a damaged array may claim to have any number of rows.
        arrays.setdefault(key, np.broadcast_to(np.array(column.default), shape))
    infos = Infos(**arrays)
    _check(path, infos, remedy)
    return infos


def _check(path: str, infos: Infos, remedy: str) -> None:
    """Refuse arrays that are not as they must be before they lead to a wrong sample."""
    check_columns(path, _COLUMNS, vars(infos), remedy)
    if not len(infos.agent):
        raise DataFileError(path, f'holds no annotation; {remedy}')
    rotation, last = infos.world_from_agent[:, :3, :3], infos.world_from_agent[:, 3]
    rigid = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max() < 1e-3
    rigid = rigid and (np.linalg.det(rotation) > 0).all() and (last == [0, 0, 0, 1]).all()
    step = np.stack([np.diff(c) for c in (infos.scenario, infos.agent, infos.frame)])
    first = np.take_along_axis(step, (step != 0).argmax(axis=0)[None], axis=0)
    runs = check_runs(infos.object_begin, len(infos.object_id))
    scenarios, classes = len(infos.scenarios), len(infos.class_names)
    for key, good, expected in (
        ('labels', str(infos.labels) in LABELS, f'expected one of {LABELS}'),
        ('dataset', str(infos.dataset) in DIALECTS, f'expected one of {list(DIALECTS)}'),
        ('scenarios', _stays_below(infos.scenarios), 'expected names of folders in the split'),
        ('scenarios', (infos.scenarios[1:] > infos.scenarios[:-1]).all(), 'expected them sorted'),
        ('scenario', (infos.scenario < scenarios).all(), f'expected 0 to {scenarios - 1}'),
        ('object_class', (infos.object_class < classes).all(), f'expected 0 to {classes - 1}'),
        ('cloud', _stays_below(infos.cloud), 'expected paths below the data root'),
        ('frame', (first > 0).all(), 'expected rows by scenario, agent and frame, none twice'),
        ('object_begin', runs is None, runs),
        ('world_from_agent', rigid, 'expected rigid transforms'),
    ):
        if not good:
            raise DataFileError(path, f'key {key!r}: {expected}; {remedy}')


def _stays_below(paths: np.ndarray) -> bool:
    """Whether text, of a path each, can only lead to something below the folder it is joined to."""
    inner = np.char.add(np.char.add('/', np.char.replace(paths, '\\', '/')), '/')
    outward = (np.char.find(inner, '/../') >= 0) | np.char.startswith(paths, '/')
    return not outward.any()
