"""What runs make of the same moments, from above, and pictures that they have drawn themselves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet3d.registry import DATASETS, MODELS
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData

from ..datasets import TruthIndex, innermost
from ..visualization import (
    BEVAnimation,
    BEVScene,
    picture_of,
    reconstruct_and_draw,
    scene_of,
)
from .charts import letter
from .images import Frame, Player, Still, read_still
from .scoring import Missing, open_dataset, open_metric, read_all
from .work_dir import Run

__all__ = ['bev_player', 'reconstruction_players', 'validation_players']

_SIZE = (1120, 630)
# Scenario, ego and frame.
Key = tuple[str, int, int]


def bev_player(
    runs: Sequence[Run], infos: Path | None, count: int, score_threshold: float
) -> Player:
    """Saved predictions of one scenario, seen by one ego, in time.

    Args:
        runs: all runs; those without predictions are left out.
        infos: info file to take instead of the configs'.
        count: how many moments at most.
        score_threshold: detections below it are left out.

    Raises:
        Missing: no run has predictions, the runs have none in common, or their data isn't there.
    """
    numbers = tuple(i for i, run in enumerate(runs) if run.predictions)
    if not numbers:
        raise Missing('no run has predictions')
    drawers = [_Drawer(runs[i], infos, score_threshold) for i in numbers]
    keys = _chosen([set(drawer.predictions) for drawer in drawers], count)
    frames = [
        Frame(
            f'{scenario}, ego {ego}, frame {frame}',
            tuple(
                drawer.still((scenario, ego, frame), letter(i))
                for i, drawer in zip(numbers, drawers, strict=True)
            ),
        )
        for scenario, ego, frame in keys
    ]
    note = f'Detections with a score of {score_threshold:g} or more.'
    return Player('Predictions from above', numbers, tuple(frames), note)


def _chosen(sets: Sequence[set[Key]], count: int) -> list[Key]:
    """The longest row of moments of one scenario and ego that all have, spread over its time."""
    rows: dict[tuple[str, int], list[Key]] = {}
    for key in sorted(set.intersection(*sets)):
        rows.setdefault(key[:2], []).append(key)
    if not rows:
        raise Missing('the runs predict no moment in common')
    row = max(rows.values(), key=len)
    picked = np.unique(np.linspace(0, len(row) - 1, min(count, len(row))).round().astype(int))
    return [row[i] for i in picked]


class _Drawer:
    """Draws saved predictions of a run."""

    def __init__(self, run: Run, infos: Path | None, score_threshold: float) -> None:
        cfg = run.test_config
        if cfg is None:
            raise Missing(f'{run.name} has no config, which says how clouds are loaded')
        self._dataset = open_dataset(cfg, infos, keep=lambda transform: True)
        for transform in self._dataset.pipeline.transforms:
            if hasattr(transform, 'on_bad_cloud'):
                transform.on_bad_cloud = 'drop'  # a picture without clouds is better than none
        self._index = TruthIndex(self._dataset)
        self._score_threshold = score_threshold
        classes = self._dataset.metainfo['classes']
        self.predictions: dict[Key, dict] = {
            (found['scenario'], found['ego'], found['frame']): found
            for found in read_all(run.predictions, classes)
        }
        limits = open_metric(cfg, self._dataset.metainfo).eval_range
        if 'point_cloud_range' in cfg:
            limits = np.asarray(cfg.point_cloud_range)[[0, 1, 3, 4]]
        self._animation = BEVAnimation(limits, _SIZE)

    def still(self, key: Key, name: str) -> Still:
        """One moment."""
        found = self.predictions[key]
        data = self._dataset[self._index.find(found)]
        sample = data['data_samples']
        sample.pred_instances_3d = InstanceData(**found['pred_instances_3d'])
        clouds = list(data['inputs']['points'].split(sample.num_points))
        scene = scene_of(sample, clouds, self._score_threshold)
        return Still(self._animation.frame(scene), f'{name}: {_in_words(scene)}')


def _in_words(scene: BEVScene) -> str:
    facts = [
        f'{len(scene.gt_boxes)} objects, {len(scene.pred_boxes)} detections',
        f'{int(scene.missed.sum())} missed, {int(scene.false_alarms.sum())} false alarms',
    ]
    return f'{scene.title} from above, {", ".join(facts)}'


def validation_players(runs: Sequence[Run], count: int) -> list[Player]:
    """What ``DrawSamplesHook`` has drawn: a player for each sample, through training."""
    players = []
    for sample in sorted({number for run in runs for number in run.validation_pictures}):
        numbers = tuple(i for i, run in enumerate(runs) if sample in run.validation_pictures)
        own = [runs[i].validation_pictures[sample] for i in numbers]
        steps = sorted({step for pictures in own for step in pictures})
        chosen = np.linspace(0, len(steps) - 1, min(count, len(steps))).round().astype(int)
        frames = []
        for step in (steps[i] for i in chosen):
            pictures = tuple(
                read_still(files[step], f'{letter(i)}: sample {sample} at iteration {step}')
                if step in files
                else None
                for i, files in zip(numbers, own, strict=True)
            )
            frames.append(Frame(f'iteration {step}', pictures))
        players.append(Player(f'Validation sample {sample}', numbers, tuple(frames)))
    return players


def reconstruction_players(runs: Sequence[Run], count: int) -> list[Player]:
    """Masked reconstruction: pictures in the work directories, or else drawn anew; or nothing."""
    rows: dict[int, dict[str, Still]] = {}
    for i, run in enumerate(runs):
        rows[i] = {
            path.stem: read_still(path, f'{letter(i)}: {path.stem}')
            for path in run.reconstructions[:count]
        } or _reconstructed(run, letter(i), count)
    rows = {i: row for i, row in rows.items() if row}
    labels = dict.fromkeys(label for row in rows.values() for label in row)
    frames = [Frame(label, tuple(row.get(label) for row in rows.values())) for label in labels]
    return [Player('Masked reconstruction', tuple(rows), tuple(frames))] if frames else []


def _reconstructed(run: Run, name: str, count: int) -> dict[str, Still]:
    """What the newest checkpoint makes of training samples; nothing without one, or without data.

    Masks are drawn with seed 0.
    """
    cfg = run.config
    if cfg is None or cfg.get('model', {}).get('type') != 'MaskedPretrainer':
        return {}
    own = cfg.train_dataloader.dataset
    there = all(
        each.get('type') == 'V2XPnPDataset' and Path(each.data_root, each.ann_file).is_file()
        for each in innermost(own)
    )
    if not run.checkpoints or not there:
        return {}
    dataset = DATASETS.build(own)
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, str(run.checkpoints[-1]), map_location='cpu', strict=True)
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    stills = {}
    for i in chosen.tolist():
        data = dataset[i]
        sample = data['data_samples']
        image = picture_of(reconstruct_and_draw(model, data))
        label = f'{sample.scenario}, frame {sample.frame}'
        stills[label] = Still(image, f'{name}: input, masked input, reconstruction, truth, {label}')
    return stills
