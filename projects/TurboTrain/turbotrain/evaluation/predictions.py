"""Predictions in a file that any language can write and read: one JSON object a line.

The first line says what the file is and how labels are called, each further one what was predicted
for one ego at one time, each of which occurs once, in the order in which it was predicted. Shown
here on several lines::

    {"format": "turbotrain-predictions", "version": 1, "class_names": ["vehicle", "pedestrian"],
     "modes": 1, "steps": 2, "step": 0.5}
    {"scenario": "2023-03-17-16-12-12_3_0", "frame": 35, "ego": 1,
     "boxes": [[12.1, -3.4, -1.9, 4.4, 1.9, 1.6, 0.02]],
     "scores": [0.87], "labels": ["vehicle"],
     "trajectories": [[[[14.1, -3.4], [16.0, -3.3]]]], "trajectory_scores": [[1.0]],
     "velocity": [[4.0, 0.0]],
     "message_bytes": [70400]}

``boxes`` are P times x, y, z of the bottom's centre, length, width, height (m) and yaw (rad), in
the LiDAR frame of the ego at that time. A model that forecasts says in the first line in how many
``modes`` K and ``steps`` F, which are ``step`` seconds each, 0.5 if it does not say.
``trajectories`` are P x K x F positions x, y in that frame at +0.5, +1.0, ... s, and
``trajectory_scores`` P x K probabilities. ``velocity``, from a model that tells it, is P x 2 m/s
along that frame's axes. ``message_bytes``, if known, is what each of the others sent.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..errors import UserError
from ..whole_file import write_whole

__all__ = [
    'Forecasts',
    'PredictionFileError',
    'PredictionWriter',
    'read_forecasts',
    'read_predictions',
]

_FORMAT, _VERSION = 'turbotrain-predictions', 1
_STEP = 0.5  # seconds, of a file that does not say
_MOST = 1000  # modes and steps: the truth of so many has to be found, too
_KEYS = dict(scenario=str, frame=int, ego=int, boxes=list, scores=list, labels=list)


class PredictionFileError(UserError, ValueError):
    """A prediction file that cannot be used; the text names the file, the line and the key."""


class Forecasts(NamedTuple):
    """What the first line of a file says of forecasts: ``steps`` of ``step`` seconds each."""

    modes: int
    steps: int
    step: float


@METRICS.register_module()
class PredictionWriter(BaseMetric):
    """Write what a model predicts to a file, beside what other metrics make of it.

    Args:
        path: the file; one of that name is replaced once the new one is whole. Labels are written
            by the names that the data set gives them.
        collect_device: ``'cpu'`` or ``'gpu'``, how results of several processes are gathered.
        prefix: mmengine's; there is nothing to put it before.

    Example:
        >>> test_evaluator = [
        ...     dict(type='CooperativeMetric', class_names=['vehicle']),
        ...     dict(type='PredictionWriter', path='a.jsonl'),
        ... ]
    """

    default_prefix = ''

    def __init__(self, path: str, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.path = Path(path)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep a line of each sample."""
        self.results += [self._line(sample) for sample in data_samples]

    def compute_metrics(self, results: list[tuple[str, tuple[int, int] | None]]) -> dict:
        """Write them; there is no metric."""
        lines, shapes = zip(*results, strict=True)
        head = dict(format=_FORMAT, version=_VERSION, class_names=self.dataset_meta['classes'])
        if shapes[0] is not None:
            head |= dict(modes=shapes[0][0], steps=shapes[0][1])
            if 'step' in self.dataset_meta:
                head['step'] = self.dataset_meta['step']
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, '\n'.join([json.dumps(head), *lines]) + '\n')
        return {}

    def _line(self, sample: Mapping) -> tuple[str, tuple[int, int] | None]:
        """The sample's line, and its modes and steps if there is a forecast."""
        found, names = sample['pred_instances_3d'], self.dataset_meta['classes']
        line = dict(
            scenario=sample['scenario'],
            frame=int(sample['frame']),
            ego=int(sample['agents'].ids[0]),
            boxes=_shortest(found['bboxes_3d'].tensor),
            scores=_shortest(found['scores_3d']),
            labels=[names[label] for label in found['labels_3d'].tolist()],
        )
        for key in ('velocity', 'trajectories', 'trajectory_scores'):
            if key in found:
                line[key] = _shortest(found[key])
        if 'message_bytes' in sample:
            line['message_bytes'] = [int(size) for size in sample['message_bytes']]
        paths = found.get('trajectories')
        if paths is not None and paths.shape[1] == 1:  # which needs no scores
            line.setdefault('trajectory_scores', [[1.0]] * len(paths))
        return json.dumps(line), None if paths is None else tuple(paths.shape[1:3])


def read_forecasts(path: str | Path) -> Forecasts | None:
    """What a file's first line says of forecasts, None if it has none.

    Raises:
        PredictionFileError: the file is missing, or of another format or version.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return _check_head(path, _parsed(path, 1, file.readline()))
    except (OSError, UnicodeDecodeError) as error:
        raise PredictionFileError(f'{path}: cannot be read ({error})') from None


def read_predictions(path: str | Path, class_names: Sequence[str]) -> Iterator[dict]:
    """Read a file, one line at a time.

    Args:
        path: the file.
        class_names: names of the labels that the caller works with, from 0.

    Yields:
        ``scenario``, ``frame``, ``ego``, ``message_bytes`` if given, and ``pred_instances_3d`` as
        :class:`~.cooperative_metric.CooperativeMetric` takes it.

    Raises:
        PredictionFileError: the file is missing, of another format or version, or a line of it
            cannot be used or is of the same sample as another.
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    try:
        with open(path, encoding='utf-8') as file:
            head = _parsed(path, 1, file.readline())
            forecast = _check_head(path, head)
            _check_names(path, head, label_of)
            lines: dict[tuple, int] = {}
            for number, line in enumerate(file, start=2):
                if line.strip():
                    found = _parsed(path, number, line)
                    where = f'{path}, line {number}'
                    sample = _prediction(where, found, label_of, forecast)
                    name = sample['scenario'], sample['frame'], sample['ego']
                    if name in lines:
                        raise PredictionFileError(
                            f'{where}: scenario, frame, ego: expected each once, got those of '
                            f'line {lines[name]} again'
                        )
                    lines[name] = number
                    yield sample
    except (OSError, UnicodeDecodeError) as error:
        raise PredictionFileError(f'{path}: cannot be read ({error})') from None


def _parsed(path: str | Path, number: int, line: str) -> dict:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:  # a number may be too long, too
        raise PredictionFileError(f'{path}, line {number}: is no JSON ({error})') from None
    if not isinstance(found, dict):
        raise PredictionFileError(
            f'{path}, line {number}: expected a JSON object, got a {type(found).__name__}'
        )
    return found


def _check_head(path: str | Path, head: dict) -> Forecasts | None:
    """What it says of forecasts, None if there are none."""
    expected = dict(format=_FORMAT, version=_VERSION)
    found = {key: head.get(key) for key in expected}
    if found != expected:
        raise PredictionFileError(f'{path}, line 1: expected {expected}, got {found!r:.120}')
    sizes = head.get('modes'), head.get('steps')
    if sizes == (None, None):
        return None
    if not all(type(size) is int and 0 < size <= _MOST for size in sizes):
        raise PredictionFileError(
            f'{path}, line 1: modes, steps: expected numbers from 1 to {_MOST}, got {sizes!r:.60}'
        )
    step = head.get('step', _STEP)
    if type(step) not in (int, float) or not 0 < step < 1e6:
        raise PredictionFileError(
            f'{path}, line 1: step: expected seconds above 0 and below 1e6, got {step!r:.60}'
        )
    return Forecasts(head['modes'], head['steps'], float(step))


def _check_names(path: str | Path, head: dict, label_of: Mapping[str, int]) -> None:
    names = head.get('class_names')
    if not isinstance(names, list) or any(not _is_label(name, label_of) for name in names):
        raise PredictionFileError(
            f'{path}, line 1: class_names: expected names of the class map, {[*label_of]}, got '
            f'{names!r:.60}'
        )


def _prediction(
    where: str, line: dict, label_of: Mapping[str, int], forecast: Forecasts | None
) -> dict:
    paths = {} if forecast is None else dict(trajectories=list, trajectory_scores=list)
    for key, kind in (_KEYS | paths).items():
        if type(line.get(key)) is not kind:
            raise PredictionFileError(
                f'{where}: {key}: expected {kind.__name__}, got {line.get(key)!r:.60}'
            )
    unknown = [label for label in line['labels'] if not _is_label(label, label_of)]
    if unknown:
        raise PredictionFileError(
            f'{where}: labels: expected some of {[*label_of]}, got {unknown[0]!r:.60}'
        )
    # Only here: metrics of other boxes need no mmdet3d.
    from mmdet3d.structures import LiDARInstance3DBoxes

    count = len(line['boxes'])
    if len(line['labels']) != count:
        raise PredictionFileError(
            f'{where}: labels: expected {count} of them, got {len(line["labels"])}'
        )
    found = dict(
        bboxes_3d=LiDARInstance3DBoxes(_tensor(where, 'boxes', line['boxes'], (count, 7))),
        scores_3d=_tensor(where, 'scores', line['scores'], (count,)),
        labels_3d=torch.tensor([label_of[label] for label in line['labels']], dtype=torch.int64),
    )
    if 'velocity' in line:
        found['velocity'] = _tensor(where, 'velocity', line['velocity'], (count, 2))
    if forecast is not None:
        shape = (count, forecast.modes, forecast.steps)
        found['trajectories'] = _tensor(where, 'trajectories', line['trajectories'], (*shape, 2))
        scores = _tensor(where, 'trajectory_scores', line['trajectory_scores'], shape[:2])
        found['trajectory_scores'] = scores
    sizes = line.get('message_bytes', [])
    if not isinstance(sizes, list) or not all(type(n) is int and 0 <= n < 2**62 for n in sizes):
        raise PredictionFileError(
            f'{where}: message_bytes: expected a list of sizes, got {sizes!r:.60}'
        )
    sample = dict(pred_instances_3d=found)
    for key in ('scenario', 'frame', 'ego', 'message_bytes'):
        if key in line:
            sample[key] = line[key]
    return sample


def _is_label(name: Any, label_of: Mapping[str, int]) -> bool:
    return isinstance(name, str) and name in label_of


def _tensor(where: str, key: str, value: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """A float32 tensor of some shape."""
    try:
        array = np.array(value, dtype=np.float32)
    except (ValueError, TypeError, OverflowError):
        raise PredictionFileError(f'{where}: {key}: expected numbers in a full array') from None
    # JSON cannot say how long rows are of which there are none.
    if array.shape != shape and not array.size == shape[0] == 0:
        raise PredictionFileError(f'{where}: {key}: expected shape {shape}, got {array.shape}')
    if not np.isfinite(array).all():
        raise PredictionFileError(f'{where}: {key}: holds what is no finite number')
    return torch.from_numpy(array.reshape(shape))


def _shortest(values: torch.Tensor) -> list:
    """Numbers as nested lists that JSON writes with as many digits as float32 has."""
    array = values.detach().cpu().numpy().astype(np.float32)
    digits = array.ravel().astype(str).astype(np.float64)
    return digits.reshape(array.shape).tolist()
