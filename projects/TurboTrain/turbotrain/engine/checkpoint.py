"""Checkpoint files: written whole or not at all, read without running anything they hold.

Importing this module gives mmengine the storage backend ``durable``.
"""

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import load_checkpoint
from torch import nn

from ..errors import CheckpointError
from ..whole_file import write_whole
from .checkpoint_look import look_at_archive, look_at_legacy_file

__all__ = [
    'DurableBackend',
    'checkpoints_by_age',
    'load_weights',
    'newest_checkpoint',
    'read_checkpoint',
    'refuse_misfit',
]

# For what mmengine loads by itself (from URLs): torch's own default since 2.6; before, it would
# run whatever a checkpoint holds.
os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'

_RESUMABLE = re.compile(r'(epoch|iter)_(\d{1,18})\.pth')
_HUB = ('log_scalars', 'runtime_info', 'resumed_keys')  # of mmengine's message hub
_REFUSED = re.compile(r'GLOBAL (\S+)|global (\S+)|(?:type|class|function) (\S+)')


class DurableBackend(LocalBackend):
    """mmengine's local disk, but files are replaced once the new one is whole."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_whole(filepath, obj)


def read_checkpoint(filename: str, map_location: Any = 'cpu') -> dict:
    """Read a local checkpoint of tensors and plain values.

    The file is looked at first: torch itself takes a flipped bit for a weight, and older ones have
    holes (see :mod:`.checkpoint_look`).

    Args:
        filename: the file.
        map_location: where tensors go, as of ``torch.load``.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, no checkpoint, or holds objects of other kinds, which could
            run code.
    """
    path = os.path.expanduser(filename)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{filename}: there is no such checkpoint')
    try:
        with open(path, 'rb') as file:
            # torch takes a file for an archive by its first bytes.
            if zipfile.is_zipfile(path) or file.read(2) == b'PK':
                with zipfile.ZipFile(path) as archive:
                    look_at_archive(path, archive)
            else:
                file.seek(0)
                look_at_legacy_file(path, file)
        content = torch.load(path, map_location=map_location, weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(path, _refusal(str(error))) from None
    except Exception as error:  # a damaged file can raise nearly anything
        raise CheckpointError(path, f'is damaged or no checkpoint ({_first(error)})') from None
    if not isinstance(content, dict):
        raise CheckpointError(
            path, f'expected a dictionary with weights, got a {type(content).__name__}'
        )
    return content


def _refusal(message: str) -> str:
    # torch's own words go on to recommend a load that runs code.
    named = _REFUSED.search(message)
    what = next(filter(None, named.groups())).rstrip('.,') if named else 'another object'
    return (
        f'holds more than tensors and plain values ({what}); it could run code and is not '
        'loaded. Checkpoints of this project hold none; of others, keep the weights alone'
    )


def _first(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'.splitlines()[0][:200]


register_backend('durable', DurableBackend, force=True)


def checkpoints_by_age(work_dir: str | Path) -> list[Path]:
    """The numbered checkpoints of a run, newest first, whole or not.

    First comes the one that ``last_checkpoint`` names, then those numbered lower. Of that file only
    a name counts, never a folder; where it is gone, the highest number is the newest. Times of
    files mean nothing: a copy of the folder has others.
    """
    folder = Path(work_dir)
    numbers = {path: _number(path.name) for path in folder.glob('*.pth')}
    last = _last(folder)

    def age(path: Path) -> tuple:
        kind, number = numbers[path]
        # What is numbered higher than the last one was left by an earlier run.
        return last is not None and kind == last[0] and number <= last[1], number

    return sorted((path for path in numbers if numbers[path]), key=age, reverse=True)


def _last(folder: Path) -> tuple[str, int] | None:
    named = folder / 'last_checkpoint'
    return _number(PurePath(named.read_text(errors='replace')).name) if named.is_file() else None


def newest_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint of a run that is whole; warns of each damaged one that it passes over.

    It is the first whole one of :func:`checkpoints_by_age`. Where names disagree, a warning says
    so.

    Raises:
        CheckpointError: there are checkpoints, and none of them is whole; or there are none, and
            ``last_checkpoint`` names one all the same.
    """
    found = checkpoints_by_age(work_dir)
    last = _last(Path(work_dir))
    for path in found:
        try:
            content = read_checkpoint(str(path))
            _refuse_weights_alone(str(path), content)
        except CheckpointError as error:
            warnings.warn(f'{error}; going back to the checkpoint before it', stacklevel=2)
            continue
        for problem in _disagreements(path, _number(path.name), content['meta'], last):
            warnings.warn(problem, stacklevel=2)
        return str(path)
    if found:
        raise CheckpointError(str(work_dir), f'none of its {len(found)} checkpoints is whole')
    named = Path(work_dir) / 'last_checkpoint'
    if named.is_file():
        raise CheckpointError(
            str(work_dir),
            f'holds no epoch_N.pth or iter_N.pth, but last_checkpoint names '
            f'{named.read_text(errors="replace").strip()!r}: name the file by --resume FILE; to '
            'begin anew, delete last_checkpoint',
        )
    return None


def _disagreements(
    path: Path, number: tuple[str, int], meta: Any, last: tuple[str, int] | None
) -> Iterator[str]:
    """What speaks against a checkpoint being where its run stopped."""
    kind, count = number
    if last not in (None, number):
        yield f'last_checkpoint names {last[0]}_{last[1]}.pth; resuming from {path} instead'
    held = meta.get(kind) if isinstance(meta, dict) else None
    if held not in (None, count):
        yield f'{path}: holds {kind} {held!r}, another than its name says'


def _refuse_weights_alone(path: str, content: dict) -> None:
    missing = {'meta', 'state_dict', 'optimizer', 'message_hub'} - content.keys()
    if missing:
        raise CheckpointError(
            path, f'cannot be resumed: {sorted(missing)} missing; load_from takes weights alone'
        )


def refuse_misfit(path: str, content: dict, model: nn.Module) -> None:
    """Check that a run of a model can go on from a checkpoint.

    mmengine resumes with whatever fits, and leaves the rest as it was drawn by chance.

    Raises:
        CheckpointError: a part that resuming needs is missing or of another kind, or the weights
            are not the model's by their names and shapes.
    """
    _refuse_weights_alone(path, content)
    meta, weights = content['meta'], content['state_dict']
    state, hub = content['optimizer'], content['message_hub']
    parts = [hub.get(key) for key in _HUB] if isinstance(hub, dict) else [None]
    for key, good, expected in (
        ('meta', _is_place(meta), 'numbers of the epoch and the iteration'),
        ('state_dict', _are_weights(weights), 'weights by name'),
        ('optimizer', state and isinstance(state, dict), 'the state of an optimiser'),
        ('message_hub', all(isinstance(part, dict) for part in parts), f'mappings {_HUB}'),
    ):
        if not good:
            raise CheckpointError(path, f'cannot be resumed: key {key!r}: expected {expected}')
    wrong = _differences(weights, model.state_dict())
    if wrong:
        more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise CheckpointError(
            path,
            f'is of another model than the config: it has {", ".join(wrong[:3])}{more}. '
            'Name a checkpoint of this config; load_from takes over weights alone',
        )


def _is_place(meta: Any) -> bool:
    return isinstance(meta, dict) and all(
        type(meta.get(key)) is int and meta[key] >= 0 for key in ('epoch', 'iter')
    )


def _are_weights(weights: Any) -> bool:
    return isinstance(weights, dict) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()
    )


def _differences(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> list[str]:
    return sorted(
        [
            *(f'no {name}' for name in own.keys() - weights.keys()),
            *(f'{name}, which the model has not' for name in weights.keys() - own.keys()),
            *(
                f'{name} of {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}'
                for name in own.keys() & weights.keys()
                if weights[name].shape != own[name].shape
            ),
        ]
    )


def load_weights(model: nn.Module, path: str) -> None:
    """Fill a model with the weights of a checkpoint, which has to hold these and no others.

    Raises:
        CheckpointError: it is of another model, or cannot be read.
    """
    try:
        load_checkpoint(model, path, map_location='cpu', strict=True)
    except RuntimeError as error:
        said = ' '.join(str(error).split())
        raise CheckpointError(path, f'is of another model than the config: {said[:300]}') from None


def _number(name: str) -> tuple[str, int] | None:
    """``('epoch', 3)`` of ``epoch_3.pth``; None of a file that is not written to be resumed."""
    found = _RESUMABLE.fullmatch(name)
    return found and (found[1], int(found[2]))
