"""Whose conventions a dataset's annotations follow, by what only these datasets write."""

import os
from collections.abc import Iterator

import numpy as np

from ..readers import (
    DIALECTS,
    AgentFrame,
    DairDialect,
    DairFrame,
    DataFileError,
    list_folder,
    list_scenarios,
    read_bytes,
    resolve_dialect,
    scan_scenario,
)
from ..readers.yaml_loader import load_yaml

__all__ = ['contradiction', 'recognise_dataset', 'recognise_layout']

_OPENCDA_KEYS = ('plan_trajectory', 'predicted_ego_pos', 'true_ego_pos', 'RSU')
_V2X_KEYS = ('infra', 'true_ego_pose')


def recognise_layout(data_root: str, backend_args: dict | None = None) -> tuple[str, str]:
    """Tell from its folders alone which dataset lies in one, if they tell.

    Returns:
        A key of ``DIALECTS``, and why; two empty texts where the folders tell nothing.

    Raises:
        DataFileError: the folder is missing.
    """
    if 'cooperative' not in list_folder(data_root, backend_args).folders:
        return '', ''
    inside = list_folder(os.path.join(data_root, 'cooperative'), backend_args).folders
    for name, dialect in DIALECTS.items():
        if isinstance(dialect, DairDialect) and dialect.label_folder in inside:
            return name, f"there is 'cooperative/{dialect.label_folder}'"
    return '', ''


def recognise_dataset(
    data_root: str, splits: list[str], backend_args: dict | None = None
) -> tuple[str, str]:
    """Tell from its first annotations which dataset a folder holds.

    Returns:
        A key of ``DIALECTS``, and why. Datasets of one dialect are told apart by their folders;
        ``v2xpnp`` is the answer where nothing speaks for another.

    Raises:
        DataFileError: a split is not a folder, or holds no scenario.
    """
    for split in splits:
        for name in list_scenarios(os.path.join(data_root, split), backend_args):
            try:
                frames = scan_scenario(os.path.join(data_root, split, name), backend_args)
            except DataFileError:
                continue  # the check names it
            dataset, why = _recognise(frames, backend_args)
            if not why:
                continue
            roadside = any(row.agent < 0 for row in frames)
            if dataset == 'opv2v' and roadside:
                return 'v2xset', f'{why}; there are roadside units'
            there = list_folder(data_root, backend_args).folders
            if dataset == 'v2xpnp' and 'validate' in there and 'map' not in there:
                return 'v2xreal', f"{why}; there is 'validate' and no 'map'"
            return dataset, why
    return 'v2xpnp', 'nothing in them speaks for another dataset'


def contradiction(frames: list[AgentFrame], dataset: str, backend_args: dict | None = None) -> str:
    """Why one agent's files cannot be of a dataset, and of which they are; empty if they may be.

    Args:
        frames: of one agent.
        dataset: whose conventions they are to be read by, a key of ``DIALECTS``.
        backend_args: where mmengine's fileio finds them; local disk by default.
    """
    if any(isinstance(row, DairFrame) for row in frames):
        return ''  # its lists and labels are of no other dataset
    found, why = _recognise(frames, backend_args)
    wanted = resolve_dialect(dataset)
    if not why or DIALECTS[found] == wanted:
        return ''
    names = ' or '.join(name for name, dialect in DIALECTS.items() if dialect == DIALECTS[found])
    return f'expected files as {dataset} has them, but {why}, as in {names}'


def _recognise(frames: list[AgentFrame], backend_args: dict | None) -> tuple[str, str]:
    """The first dataset of the dialect that the files show, and how; without a reason if none."""
    for content in _samples(frames, backend_args):
        objects = [o for o in content['vehicles'].values() if isinstance(o, dict)]
        if not objects:
            continue
        if any('ass_id' in entry for entry in objects):
            return 'v2v4real', 'objects have an ass_id'
        typed = any('obj_type' in entry for entry in objects)
        keys = [key for key in _OPENCDA_KEYS if key in content]
        if keys or not typed:
            pose = content.get('lidar_pose')
            if isinstance(pose, (list, np.ndarray)) and len(pose) == 4:
                return 'v2v4real', 'objects name no class (obj_type) and lidar_pose is a matrix'
            if not typed:
                return 'opv2v', 'objects name no class (obj_type)'
            return 'opv2v', f'there are keys {", ".join(keys)}'
        keys = [key for key in _V2X_KEYS if key in content]
        if keys:
            return 'v2xpnp', f'there are keys {", ".join(keys)}'
    return 'v2xpnp', ''


def _samples(frames: list[AgentFrame], backend_args: dict | None) -> Iterator[dict]:
    """A few of the annotations that can be read, with objects or without."""
    for row in dict.fromkeys((frames[0], frames[len(frames) // 2], frames[-1])):
        try:
            content = load_yaml(bytes(read_bytes(row.annotation, backend_args)))
        except Exception:
            continue  # the reader names it
        if isinstance(content, dict) and isinstance(content.get('vehicles'), dict):
            yield content
