"""All parts of a report, and the one page that they become."""

import base64
import hashlib
import math
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..datasets.readers import DataFileError
from .charts import letter, short
from .curves import (
    ChartGroup,
    precision_charts,
    robustness_charts,
    training_groups,
    validation_charts,
)
from .images import Player, embed_all
from .scoring import Missing, Scores, score, shares_of
from .stills import bev_player, reconstruction_players, validation_players
from .tables import config_differences, metric_groups
from .work_dir import Run

__all__ = ['Options', 'render_report']

_RESOURCES = Path(__file__).with_name('resources')
_PICTURE_BYTES = 3_600_000  # of all pictures together, as text; the rest is small
_PACKAGES = ('torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmdet3d', 'matplotlib')


@dataclass(frozen=True)
class Options:
    """What a report may be told.

    Attributes:
        infos: info file of the ground truth instead of the configs'.
        stills: how many moments are drawn at most; 0 leaves all pictures out.
        score_threshold: detections below it are left out of pictures.
    """

    infos: Path | None = None
    stills: int = 10
    score_threshold: float = 0.3


class Card(NamedTuple):
    """A run in short."""

    letter: str
    name: str
    facts: dict[str, str]


class EpaBar(NamedTuple):
    """What the EPA of a run and class is made of: name of the part -> percent of the objects."""

    run: int
    epa: float
    shares: dict[str, float]
    formula: str


def render_report(runs: Sequence[Run], options: Options) -> str:
    """The page.

    Args:
        runs: what to compare, the one that the others are compared with first.
        options: what to put into it.
    """
    notes: list[str] = []
    scores = _scores(runs, options, notes)
    metrics = [_metrics(run, scores.get(i), notes) for i, run in enumerate(runs)]
    configs = [None if run.config is None else run.config.to_dict() for run in runs]
    script = (_RESOURCES / 'script.js').read_text(encoding='utf-8')
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    epa = _epa(runs, metrics, scores)
    environment = Environment(
        loader=FileSystemLoader(_RESOURCES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        letter=letter, parts=lambda name: re.findall(r'[^/_.]+[/_.]*|[/_.]+', name)
    )
    page = environment.get_template('page.html.j2').render(
        title=' · '.join(run.name for run in runs),
        date=time.strftime('%Y-%m-%d %H:%M'),
        # These two are the project's own files.
        style=Markup((_RESOURCES / 'style.css').read_text(encoding='utf-8')),
        script=Markup(script),
        script_hash=f'sha256-{digest}',
        cards=[_card(i, run, metrics[i]) for i, run in enumerate(runs)],
        training=[*training_groups(runs), *_validation(runs)],
        metrics=metric_groups(metrics),
        precision=precision_charts(scores, runs),
        average_precision=_average_precision(scores),
        epa=epa,
        epa_scale=max([100.0, *(b.shares['false_alarms'] for bars in epa.values() for b in bars)]),
        robustness=robustness_charts(runs),
        players=_players(runs, options, notes),
        differences=config_differences(configs) if sum(c is not None for c in configs) > 1 else [],
        configs=[(i, run.config.pretty_text) for i, run in enumerate(runs) if run.config],
        versions=_versions(runs),
        made_with={'python': platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        notes=notes,
    )
    # Names in logs may hold half characters, which no file can.
    return page.encode('utf-8', 'replace').decode('utf-8')


def _scores(runs: Sequence[Run], options: Options, notes: list[str]) -> dict[int, Scores]:
    """Of the runs whose predictions can be compared with the truth; notes say why others can't."""
    found = {}
    for i, run in enumerate(runs):
        if run.predictions:
            try:
                found[i] = score(run.predictions, run.test_config, options.infos)
            except (Missing, DataFileError) as reason:
                notes.append(f'{letter(i)}: no precision-recall curves: {reason}.')
    return found


def _average_precision(
    scores: Mapping[int, Scores],
) -> dict[str, list[tuple[int, list[float]]]]:
    """Class -> run and its average precision at each IoU threshold, in percent."""
    classes = dict.fromkeys(name for own in scores.values() for name in own.curves)
    return {
        name: [
            (i, [own.metrics[f'AP@{threshold:g}/{name}'] for threshold in own.curves[name]])
            for i, own in scores.items()
            if name in own.curves
        ]
        for name in classes
    }


def _metrics(run: Run, scores: Scores | None, notes: list[str]) -> dict[str, float]:
    """Of ``metrics.json``, or else of saved predictions, or else of the last validation."""
    if run.metrics:
        own = scores.metrics if scores else {}
        apart = [
            name
            for name, value in run.metrics.items()
            if name in own and abs(value - own[name]) > 0.05
        ]
        if apart:
            notes.append(
                f'{run.name}: metrics.json and {run.predictions.name} are not of the same test: '
                f'they differ in {apart[0]} ({short(run.metrics[apart[0]])} and '
                f'{short(own[apart[0]])}).'
            )
        return run.metrics
    if scores:
        return scores.metrics
    last = run.scalars.validation[-1] if run.scalars.validation else {}
    return {name: v for name, v in last.items() if name not in ('step', 'time', 'data_time')}


def _card(number: int, run: Run, metrics: Mapping[str, float]) -> Card:
    facts = {}
    configs = sorted(run.folder.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if configs:
        facts['config'] = configs[-1].stem
    if run.config is not None:
        facts['model'] = str(run.config.get('model', {}).get('type', '–'))
    if run.scalars.iterations:
        facts['training'] = f'{run.scalars.iterations:,} iterations'
        seconds = run.scalars.seconds
        if math.isfinite(seconds):
            facts['training'] += f' in {_duration(seconds)}'
        losses = run.scalars.training_series().get('loss')
        if losses is not None:
            facts['loss'] = f'{short(losses.values[0])} → {short(losses.values[-1])}'
    if run.checkpoints:
        newest = run.checkpoints[-1]
        facts['checkpoint'] = f'{newest.name}, {newest.stat().st_size / 1e6:.1f} MB'
    source = 'last validation'
    if run.metrics:
        source = 'metrics.json'
    elif run.predictions:
        source = run.predictions.name
    if metrics:
        facts['metrics from'] = source
    return Card(letter(number), run.name, facts)


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f'{seconds / 60:.1f} min'
    hours, minutes = divmod(round(seconds / 60), 60)
    return f'{hours} h {minutes} min' if hours else f'{minutes} min'


def _validation(runs: Sequence[Run]) -> list[ChartGroup]:
    charts = validation_charts(runs)
    return [ChartGroup('Validation', '', charts)] if charts else []


def _epa(
    runs: Sequence[Run], metrics: Sequence[Mapping[str, float]], scores: Mapping[int, Scores]
) -> dict[str, list[EpaBar]]:
    """Class -> bars. Without predictions, there is what the metrics say of all classes."""
    found: dict[str, list[EpaBar]] = {}
    for i in range(len(runs)):
        own, weight = {}, None
        if i in scores:
            own, weight = scores[i].epa, scores[i].false_alarm_weight
        elif 'EPA_hits' in metrics[i]:
            own = {'all classes': shares_of(metrics[i])}
        for name, shares in own.items():
            epa = shares['EPA']
            parts = {kind: value for kind, value in shares.items() if kind != 'EPA'}
            if not all(map(math.isfinite, parts.values())):
                continue
            formula = ''
            if weight is not None:
                exact = parts['hits'] - weight * parts['false_alarms']
                formula = (
                    f'{parts["hits"]:.1f} − {weight:g} × {parts["false_alarms"]:.1f} = {exact:.1f}'
                ).replace('= -', '= −')
                if abs(exact - epa) > 0.05:
                    formula += ', at least 0'
            found.setdefault(name, []).append(EpaBar(i, epa, parts, formula))
    return found


def _players(runs: Sequence[Run], options: Options, notes: list[str]) -> list[Player]:
    if not options.stills:
        return []
    players = []
    if any(run.predictions for run in runs):
        try:
            players.append(bev_player(runs, options.infos, options.stills, options.score_threshold))
        except (Missing, DataFileError) as reason:
            notes.append(f'No pictures of predictions: {reason}.')
    players += reconstruction_players(runs, min(options.stills, 6))
    players += validation_players(runs, min(options.stills, 6))
    return embed_all(players, _PICTURE_BYTES)


def _versions(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """What runs ran with: name, and its version in each run."""
    names = dict.fromkeys(name for run in runs for name in run.versions)
    return [(name, [run.versions.get(name, '–') for run in runs]) for name in names]
