"""Simulates a whole data set: its plan, the work in parallel, its maps, pickles and summary."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import SettingError
from ..structures.poses import invert_rigid, pose_to_matrix, transform_points
from ..whole_file import whole_file
from ..workers import worker_pool
from .scenario import ScenarioPlan, ScenarioRecord, SensorOptions, simulate_scenario
from .site_layout import SiteKind
from .sumo_programs import sumo_home
from .traffic import FRAME_SECONDS
from .writer import write_trajectories, write_vector_map

__all__ = [
    'PRESETS',
    'SPLITS',
    'SetOptions',
    'plan_scenarios',
    'simulate_dataset',
    'visible_shares',
]

SPLITS = ('train', 'val', 'test')
SITE_SPACING = 600.0  # metres between two sites of the world frame
SITES_PER_ROW = 4
COMMUNICATION_RANGE = 50.0  # metres
LABEL_RANGE = (50.0, 40.0)  # +-x, +-y of the ego, metres
VISIBLE_POINTS = 5
MAP_FILES = {
    False: 'v2x_intersection_vector_map.pkl',
    True: 'v2v_corridors_vector_map.pkl',
}  # by "is a corridor"
SUMMARY = 'summary.json'
GENERATOR = 'turbotrain.simulation'
PARTIAL = '.partial'


@dataclass(frozen=True)
class SetOptions:
    """What a simulated set holds.

    Attributes:
        seed: fixes every byte of the set.
        intersections: scenarios at intersections in train, val and test; every third is a
            T-junction, the others are four-way.
        corridors: scenarios in corridors in train, val and test.
        sensors: how they are recorded.
    """

    seed: int = 0
    intersections: tuple[int, int, int] = (10, 2, 3)
    corridors: tuple[int, int, int] = (2, 1, 1)
    sensors: SensorOptions = SensorOptions()

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise SettingError(f'seed must not be negative, got {self.seed}')
        for name in ('intersections', 'corridors'):
            counts = getattr(self, name)
            if len(counts) != len(SPLITS) or min(counts) < 0:
                raise SettingError(f'{name} must be three counts (train val test), got {counts}')
        if not any((*self.intersections, *self.corridors)):
            raise SettingError('a set needs at least one scenario')


PRESETS = {
    'mini': SetOptions(),
    # Of another seed, so that no scenario of mini is among those that midi trains on.
    'midi': SetOptions(seed=1, intersections=(50, 5, 8), corridors=(10, 2, 2)),
}
"""Sets by name: one that a demo trains on, and one with enough scenarios to label but a few."""


def plan_scenarios(options: SetOptions) -> list[ScenarioPlan]:
    """Name and place every scenario of a set; corridors are dated 2023-04-07."""
    rng = np.random.default_rng([options.seed, 1 << 20])
    plans: list[ScenarioPlan] = []
    for corridor, counts in ((False, options.intersections), (True, options.corridors)):
        number = 0
        for split, count in zip(SPLITS, counts, strict=True):
            for _ in range(count):
                kind: SiteKind = (
                    'corridor' if corridor else ('tee' if number % 3 == 1 else 'four_way')
                )
                day = '2023-04-07' if corridor else f'2023-03-{17 + number % 12:02d}'
                hour, minute, second = rng.integers((9, 0, 0), (18, 60, 60)).tolist()
                row, place = divmod(number, SITES_PER_ROW)
                plans.append(
                    ScenarioPlan(
                        name=f'{day}-{hour:02d}-{minute:02d}-{second:02d}_{number + 1}_0',
                        split=split,
                        kind=kind,
                        index=len(plans),
                        seed=options.seed,
                        offset=(place * SITE_SPACING, row * SITE_SPACING),
                    )
                )
                number += 1
    return plans


def simulate_dataset(out: Path, options: SetOptions, workers: int = 1) -> dict[str, object]:
    """Simulate a set and write it to ``out``; an older simulated set there is replaced.

    Everything is written to a hidden folder first and moved at the end, the summary last.

    Args:
        out: the set's root.
        options: what the set holds.
        workers: processes; they do not change the result.

    Returns:
        The content of ``summary.json``.

    Raises:
        FileExistsError: if ``out`` holds anything but a simulated set.
        SumoError: if SUMO is missing or fails.
    """
    if workers < 1:
        raise SettingError(f'workers must be at least 1, got {workers}')
    sumo_home()
    _check_target(out)
    partial = out / PARTIAL
    partial.mkdir(parents=True, exist_ok=True)
    plans = plan_scenarios(options)
    # The summary, which says that a set is whole, is begun first and in place last.
    with whole_file(out / SUMMARY) as file:
        shutil.rmtree(partial)
        partial.mkdir()
        try:
            records = list(_run(plans, options.sensors, partial, workers))
            records.sort(key=lambda record: record.plan.index)
            summary = _finish(partial, options, records)
            file.write((json.dumps(summary, indent=2) + '\n').encode())
            file.flush()
            os.fsync(file.fileno())  # nothing old goes before all of the new is on the disk
            _publish(partial, out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return summary


def _check_target(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if out.is_dir() and (out / PARTIAL).is_dir():
        return
    try:
        if json.loads((out / SUMMARY).read_text())['generator'] == GENERATOR:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise FileExistsError(
        f'{out}: not empty, and not a simulated set ({SUMMARY} with generator {GENERATOR!r} '
        'expected); choose another folder'
    )


def _run(
    plans: list[ScenarioPlan], sensors: SensorOptions, root: Path, workers: int
) -> Iterator[ScenarioRecord]:
    """Simulate scenarios in processes; always in processes, so that all sets are made alike."""
    with worker_pool(min(workers, len(plans))) as pool:
        jobs = [pool.submit(simulate_scenario, plan, sensors, root) for plan in plans]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc='scenarios', unit='scenario'):
            yield job.result()


def _finish(root: Path, options: SetOptions, records: list[ScenarioRecord]) -> dict[str, object]:
    (root / 'map').mkdir()
    given = asdict(options)
    if not options.sensors.cameras:
        del given['sensors']['cameras']  # files of a set without pictures stay as they always were
    summary: dict[str, object] = {'generator': GENERATOR, 'options': given}
    for corridor, file in MAP_FILES.items():
        group = [record for record in records if (record.plan.kind == 'corridor') == corridor]
        write_vector_map(root / 'map' / file, [lane for item in group for lane in item.lanes])
        if group:
            kind = 'corridor' if corridor else 'intersection'
            summary[kind] = visible_shares(group, options.sensors)
    for split in SPLITS:
        (root / split).mkdir(exist_ok=True)
        group = sorted((r for r in records if r.plan.split == split), key=lambda r: r.plan.name)
        write_trajectories(
            root / f'trajectory_database_{split}.pkl', [item.trajectories for item in group]
        )
    summary['scenarios'] = {record.plan.name: record.plan.kind for record in records}
    return summary


def visible_shares(records: Iterable[ScenarioRecord], sensors: SensorOptions) -> dict[str, float]:
    """How much of what is labelled the ego sees alone, and all agents see together.

    The ego is agent 1. Counted are objects within +-50 m x +-40 m of it (its frame) that any agent
    within 50 m of it has in its labels, the ego's own vehicle left out.

    Args:
        records: finished scenarios.
        sensors: how they were recorded.

    Returns:
        ``visible_ego`` and ``visible_all`` (shares with at least 5 points of the ego's cloud, of
        all clouds), ``objects_per_frame``, ``moving_share`` (faster than 0.5 m/s) and
        ``points_per_cloud``.
    """
    ego_seen = all_seen = labelled = moving = frames = points = clouds = 0
    step = sensors.frame_stride * FRAME_SECONDS
    for record in records:
        frames += len(record.hits)
        clouds += record.hits.shape[0] * record.hits.shape[1]
        points += record.points
        apart = np.linalg.norm(
            record.agent_poses[:, :, :2] - record.agent_poses[:, :1, :2], axis=-1
        )
        speed = np.linalg.norm(np.gradient(record.places, step, axis=0), axis=-1)
        for frame, hits in enumerate(record.hits):
            near = hits[apart[frame] <= COMMUNICATION_RANGE]
            ego_from_site = invert_rigid(pose_to_matrix(record.agent_poses[frame, 0]))
            places = np.pad(record.places[frame], ((0, 0), (0, 1)))
            local = np.abs(transform_points(ego_from_site, places)[:, :2])
            listed = (near >= sensors.min_points).any(0)
            counted = (local <= LABEL_RANGE).all(1) & (near[0] >= 0) & listed
            labelled += int(counted.sum())
            ego_seen += int((near[0, counted] >= VISIBLE_POINTS).sum())
            all_seen += int((near.clip(min=0).sum(0)[counted] >= VISIBLE_POINTS).sum())
            moving += int((speed[frame, counted] > 0.5).sum())
    count = max(labelled, 1)
    return {
        'visible_ego': round(ego_seen / count, 4),
        'visible_all': round(all_seen / count, 4),
        'objects_per_frame': round(labelled / max(frames, 1), 2),
        'moving_share': round(moving / count, 4),
        'points_per_cloud': round(points / max(clouds, 1), 1),
    }


def _publish(partial: Path, out: Path) -> None:
    """Move a finished set into place; the old summary goes first.

    What was made of the old set goes, too: info files and object databases tell of other clouds.
    """
    (out / SUMMARY).unlink(missing_ok=True)
    for pattern in ('*_infos_*.npz', 'objects*.npz'):
        for made in out.glob(pattern):
            made.unlink()
    for name in sorted(item.name for item in partial.iterdir()):
        target = out / name
        if target.is_dir():
            shutil.rmtree(target)
        (partial / name).replace(target)
    partial.rmdir()
