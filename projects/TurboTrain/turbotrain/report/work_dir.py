"""What a run has left in its work directory."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine import checkpoints_by_age
from ..errors import UserError
from .json_text import parse_json
from .scalars import Scalars, read_scalars

__all__ = ['Run', 'read_run', 'read_runs']

MAX_RUNS = 8
_EXPECTED = (
    '<timestamp>/vis_data/scalars.json and config.py (tools/train.py), metrics.json and '
    'predictions*.jsonl (tools/test.py), robustness.json (tools/benchmark/robustness.py) or '
    'reconstruction*.png (tools/visualize.py)'
)
_VALIDATION_PICTURE = re.compile(r'val_sample_(\d+)_(\d+)\.png')
# What mmengine writes on top of each log, between two headings.
_ENVIRONMENT = re.compile(r'System environment:\n(.*?)\n\s*\nRuntime environment:', re.DOTALL)
_VERSIONS = ('Python', 'PyTorch', 'NumPy', 'OpenCV', 'MMEngine', 'TorchVision', 'CUDA available')


@dataclass(frozen=True)
class Run:
    """A work directory.

    Attributes:
        folder: the directory.
        name: what tells it from the other runs.
        scalars: what training and validation logged.
        metrics: of ``metrics.json``: name -> value, NaN where nothing defines it.
        config: as the newest training, or else the newest test, ran with it.
        test_config: as the newest training or test ran with it.
        predictions: the newest file of predictions.
        robustness: content of ``robustness.json``: ``about`` and ``sweeps``.
        versions: what the newest log says of the environment.
        checkpoints: newest last.
        validation_pictures: number of the sample -> iteration -> file.
        reconstructions: files, by name.
    """

    folder: Path
    name: str
    scalars: Scalars
    metrics: dict[str, float]
    config: Config | None
    test_config: Config | None
    predictions: Path | None
    robustness: dict[str, Any] | None
    versions: dict[str, str]
    checkpoints: tuple[Path, ...]
    validation_pictures: dict[int, dict[int, Path]]
    reconstructions: tuple[Path, ...]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read several directories, each under the shortest name that tells them apart.

    Raises:
        UserError: there are too many, one is named twice, or one holds nothing of use.
    """
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        twice = next(folder for folder in resolved if resolved.count(folder) > 1)
        raise UserError(f'{twice} is named twice')
    if len(resolved) > MAX_RUNS:
        raise UserError(f'a report compares at most {MAX_RUNS} runs, got {len(resolved)}')
    depth = 1
    while len({folder.parts[-depth:] for folder in resolved}) < len(resolved):
        depth += 1
    return [read_run(folder, '/'.join(folder.parts[-depth:])) for folder in resolved]


def read_run(folder: Path, name: str) -> Run:
    """Read a directory.

    Raises:
        UserError: it isn't there, holds nothing of use, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise UserError(f'there is no work dir {folder}')
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    configs = sorted(folder.glob('*/vis_data/config.py'))
    trained = [path for path in configs if path.with_name('scalars.json') in logs]
    checkpoints = checkpoints_by_age(folder)[::-1]
    robustness = _robustness_file(folder, checkpoints)
    pictures: dict[int, dict[int, Path]] = {}
    for path in folder.glob('*/vis_data/vis_image/*.png'):
        if match := _VALIDATION_PICTURE.fullmatch(path.name):
            pictures.setdefault(int(match[1]), {})[int(match[2])] = path
    predictions = sorted(folder.glob('predictions*.jsonl'), key=lambda path: path.stat().st_mtime)
    metrics = folder / 'metrics.json'
    reconstructions = tuple(
        path
        for path in sorted(folder.glob('reconstruction*'))
        if path.suffix in ('.png', '.jpg', '.webp')
    )
    found = (logs, configs, predictions, metrics.is_file(), robustness, pictures, reconstructions)
    if not any(found):
        raise UserError(f'{folder} holds nothing to report; expected {_EXPECTED}')
    return Run(
        folder=folder,
        name=name,
        scalars=read_scalars(logs),
        metrics=_numbers(metrics) if metrics.is_file() else {},
        config=_config((trained or configs)[-1:]),
        test_config=_config(configs[-1:]),
        predictions=predictions[-1] if predictions else None,
        robustness=_robustness(robustness) if robustness else None,
        versions=_versions(folder),
        checkpoints=tuple(checkpoints),
        validation_pictures=pictures,
        reconstructions=reconstructions,
    )


def _parsed(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{path}: is no JSON ({error})') from None


def _numbers(path: Path) -> dict[str, float]:
    found = _parsed(path)
    if not isinstance(found, dict) or not all(
        value is None or isinstance(value, int | float) for value in found.values()
    ):
        raise UserError(f'{path}: expected a JSON object of numbers')
    return {name: math.nan if value is None else float(value) for name, value in found.items()}


def _robustness_file(folder: Path, checkpoints: Sequence[Path]) -> Path | None:
    """The file in the directory, or where the sweep puts it by default, of a checkpoint of it."""
    inside = sorted(folder.glob('**/robustness.json'), key=lambda path: path.stat().st_mtime)
    if inside:
        return inside[-1]
    stamps = {
        f'{path.name}, {path.stat().st_size} bytes, {int(path.stat().st_mtime)}'
        for path in checkpoints
    }
    for path in sorted(folder.parent.glob('robustness/*/robustness.json')):
        if _robustness(path)['about'].get('checkpoint') in stamps:
            return path
    return None


def _robustness(path: Path) -> dict[str, Any]:
    found = _parsed(path)
    expected = isinstance(found, dict) and all(
        isinstance(found.get(key), dict) for key in ('about', 'sweeps')
    )
    if not expected or not all(map(_is_sweep, found['sweeps'].values())):
        raise UserError(f'{path}: expected the objects about and sweeps, as robustness.py writes')
    return found


def _is_sweep(found: Any) -> bool:
    """Whether it is a mapping of settings, which are numbers, to metrics."""
    try:
        return all(
            math.isfinite(float(value))
            and all(number is None or isinstance(number, int | float) for number in own.values())
            for value, own in found.items()
        )
    except (AttributeError, ValueError):
        return False


def _config(paths: Sequence[Path]) -> Config | None:
    """The config in a file, if there is one; configs are code, which runs here."""
    for path in paths:
        try:
            return Config.fromfile(path, import_custom_modules=False)
        except Exception as error:  # whatever its code raises
            raise UserError(f'{path}: cannot be read as a config ({error})') from None
    return None


def _versions(folder: Path) -> dict[str, str]:
    for path in sorted(folder.glob('*/*.log'), reverse=True):
        if match := _ENVIRONMENT.search(path.read_text(encoding='utf-8', errors='replace')):
            lines = (line.partition(':') for line in match[1].splitlines())
            found = {key.strip(): value.strip() for key, _, value in lines}
            # Python's own says when and by whom it was built, too.
            return {key: found[key].split(' (')[0] for key in _VERSIONS if found.get(key)}
    return {}
