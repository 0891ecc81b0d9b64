"""Every reader of files, and damages to what they read."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from turbotrain.datasets import (
    load_ignore_list,
    load_infos,
)
from turbotrain.datasets.object_database import load_objects
from turbotrain.datasets.readers import (
    DIALECTS,
    Camera,
    read_annotation,
    read_cameras,
    read_image,
    read_point_cloud,
    read_trajectories,
    read_vector_map,
)
from turbotrain.datasets.readers.dair_calibration import read_unit_pose
from turbotrain.datasets.readers.dair_labels import read_cooperative_labels
from turbotrain.datasets.readers.dair_lists import read_moments, read_pairs, read_splits
from turbotrain.engine import read_checkpoint
from turbotrain.evaluation.predictions import read_predictions
from turbotrain.report import read_runs
from turbotrain.structures import polylines_of

NUMBER = int(os.environ.get('FUZZ', 300))
TOKENS = [
    b'\x00', b'\xff' * 4, b'\x7f\xf8', b'nan', b'-1', b'1e999', b'9' * 30, b'9' * 5000, b'null',
    b'{}', b'[]', b'{', b'[', b'[[1]]', b'{"a": 1}', b'[' * 20_000, b'1' + b'0' * 60, b'"', b"'",
    b'\n', b'\t', b': ', b'- ', b'&a ', b'*a', b'!!python/tuple ', b'!!binary ', b'?',
    b'\x80\x04', b'\x93', b'R', b'b', b'\x81', b'\x85', b'cos\nsystem\n', b'r\xff\xff\xff\x7f',
    b'.', b'POINTS 1000000000', b'SIZE 8', b'COUNT 64', b'TYPE I', b'DATA ascii\n',
    b'PK\x03\x04', b'<f8', b'O', b'ctorch\nDoubleStorage\n', b'Q', b's', b'u', b'}q\x00', b'h\x00',
    b'1e999,', b'{"step": 1}\n', b'"\\ud800"',
]  # fmt: skip
HEAD = dict(format='turbotrain-predictions', version=1, class_names=['vehicle'], modes=1, steps=2)
PREDICTION = dict(
    scenario='a', frame=3, ego=1, boxes=[[1.0, 2, 3, 4, 2, 1.5, 0]], scores=[0.5],
    labels=['vehicle'], trajectories=[[[[1.0, 2], [3, 4]]]], trajectory_scores=[[1.0]],
)  # fmt: skip
# What is done to a file: (kind, where as a share of its length, how much, with what).
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(['flip', 'cut', 'delete', 'repeat', 'insert', 'overwrite']),
        st.floats(0, 1),
        st.integers(1, 40),
        st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def damaged(content: bytes, changes: list[tuple[str, float, int, bytes]]) -> bytes:
    for kind, share, size, token in changes:
        place = int(share * len(content))
        before, after = content[:place], content[place:]
        if kind == 'flip' and after:
            after = bytes([after[0] ^ 1 << size % 8]) + after[1:]
        elif kind == 'cut':
            after = b''
        elif kind == 'delete':
            after = after[size:]
        elif kind == 'repeat':
            after = after[:size] * 3 + after
        elif kind == 'insert':
            after = token + after
        elif kind == 'overwrite':
            after = token + after[len(token) :]
        content = before + after
    return content


def _run(path: str) -> None:
    """What the report reads of a work directory."""
    folder = next(folder for folder in Path(path).parents if folder.name.endswith('.run'))
    (run,) = read_runs([folder])
    run.scalars.training_series(), run.scalars.validation_series()


def _lanes(path: str) -> None:
    polylines_of(read_vector_map(path))


def _predictions(path: str) -> None:
    list(read_predictions(path, ['vehicle', 'pedestrian']))


def _labels(dataset: str) -> Callable[[str], object]:
    return lambda path: read_cooperative_labels(path, DIALECTS[dataset])


def _cameras(path: str) -> object:
    return read_cameras(path.replace('.yaml', '.bin'), DIALECTS['v2xpnp'])


def _picture(path: str) -> object:
    return read_image(Camera('cam1', (path,), np.eye(3), np.eye(4)))


READERS: dict[str, tuple[str, Callable]] = {
    'yaml': ('.yaml', read_annotation),
    'labels_dair_v2x_c': ('.json', _labels('dair_v2x_c')),
    'labels_v2x_seq': ('.json', _labels('v2x_seq')),
    'unit_pose': ('.json', read_unit_pose),
    'moments': ('.json', read_moments),
    'pairs': ('.json', read_pairs),
    'splits': ('.json', read_splits),
    'cameras': ('.yaml', _cameras),
    'jpeg': ('.jpeg', _picture),
    'bin': ('.bin', read_point_cloud),
    'pcd_ascii': ('.pcd', read_point_cloud),
    'pcd_binary': ('.pcd', read_point_cloud),
    'pcd_binary_compressed': ('.pcd', read_point_cloud),
    'map': ('.pkl', _lanes),
    'trajectories': ('.pkl', read_trajectories),
    'infos': ('.npz', load_infos),
    'objects': ('.npz', load_objects),
    'predictions': ('.jsonl', _predictions),
    'ignore': ('.json', load_ignore_list),
    'checkpoint': ('.pth', read_checkpoint),
    'old_checkpoint': ('.pth', read_checkpoint),
    'scalars': ('.run/1/vis_data/scalars.json', _run),
    'metrics': ('.run/metrics.json', _run),
    'robustness': ('.run/robustness.json', _run),
}
