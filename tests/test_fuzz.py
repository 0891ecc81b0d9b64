"""Files that chance has damaged: read, or refused by an error of ours that names the file.

The suite tries 300 a reader, always the same ones; for more, and new ones:

    FUZZ=10000 python -m pytest tests/test_fuzz.py
"""

import gc
import io
import json
import os
import pickle
import resource
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from PIL import Image

from tests import dair
from tests.datasets.objects import objects
from tests.fuzzing import (
    CHANGES,
    HEAD,
    NUMBER,
    PREDICTION,
    READERS,
    damaged,
)
from tests.layouts import write_pcd
from tests.scenes import write_scenario
from turbotrain.datasets import (
    build_infos,
    save_infos,
)
from turbotrain.datasets.object_database import save_objects
from turbotrain.datasets.readers import (
    DataFileError,
)
from turbotrain.errors import UserError
from turbotrain.simulation.cameras import CAMERAS
from turbotrain.simulation.writer import write_annotation, write_vector_map
from turbotrain.structures import Lane, MapPoint


def damaged_inside(content: bytes, changes: list[tuple[str, float, int, bytes]]) -> bytes:
    """One part of an archive damaged, with a check sum that is right: what follows is read."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(out, 'w') as after:
        parts = before.namelist()
        chosen = parts[changes[0][2] % len(parts)]
        for name in parts:
            part = before.read(name)
            after.writestr(name, damaged(part, changes) if name == chosen else part)
    return out.getvalue()


INSIDE = 'inside '  # an archive
DAMAGES = [*READERS, *(INSIDE + name for name in ('infos', 'objects', 'checkpoint'))]


@pytest.fixture(scope='module')
def good(tmp_path_factory) -> dict[str, Path]:
    """One good file of each kind."""
    root = tmp_path_factory.mktemp('good')
    folder = write_scenario(root, frames=range(0, 10, 5), agents=(1, -1), objects=2)
    files = {name: root / f'{name}{suffix}' for name, (suffix, _) in READERS.items()}
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    annotation = yaml.safe_load((folder / '1/000000.yaml').read_text())
    files['yaml'].write_text(yaml.dump(annotation))  # with an alias
    frames = [dair.Frame(200, 0)], [dair.Frame(10, 0)], [dair.Pair(200, 10, (0.5, -0.3))]
    for dataset, folder in (('dair_v2x_c', 'label_world'), ('v2x_seq', 'label')):
        dair_set = dair.write_set(root / dataset, dataset, *frames)
        files[f'labels_{dataset}'].write_bytes(
            (dair_set / f'cooperative/{folder}/000200.json').read_bytes()
        )
    for name, path in dict(
        unit_pose='infrastructure-side/calib/virtuallidar_to_world/000010.json',
        moments='vehicle-side/data_info.json',
        pairs='cooperative/data_info.json',
        splits=dair.SPLIT_FILES['v2x_seq'],
    ).items():
        files[name].write_bytes((dair_set / path).read_bytes())
    write_annotation(files['cameras'], np.arange(6.0), False, {}, CAMERAS[False])
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(picture).save(files['jpeg'])
    points = np.random.default_rng(0).uniform(-40, 40, (50, 4)).astype('<f4')
    points.tofile(files['bin'])
    for encoding in ('ascii', 'binary', 'binary_compressed'):
        write_pcd(files[f'pcd_{encoding}'], points, encoding)
    line = [MapPoint(float(i), 0.0) for i in range(12)]
    write_vector_map(files['map'], [Lane(1, 2, 1, line, ['3_4'], [], line[:6])] * 2)
    track = dict(trajectory=np.ones((5, 4)), trajectory_mask=np.ones(5, dtype=bool))
    content = {0: OrderedDict([(7, track), (8, dict(track, note=np.float64(2.0)))])}
    files['trajectories'].write_bytes(pickle.dumps(content, protocol=4))
    save_infos(str(files['infos']), build_infos(str(root), 'train'))
    save_objects(str(files['objects']), objects())
    lines = [HEAD, PREDICTION, PREDICTION | dict(frame=4)]
    files['predictions'].write_text('\n'.join(map(json.dumps, lines)))
    ignore = dict(format='turbotrain-ignore-list', version=1, clouds=['train/a/1/000000.bin'])
    files['ignore'].write_text(json.dumps(ignore))
    content = dict(
        meta=dict(iter=3), state_dict=OrderedDict(a=torch.ones(3), b=torch.ones(2).bool())
    )
    torch.save(content, files['checkpoint'])
    torch.save(content, files['old_checkpoint'], _use_new_zipfile_serialization=False)
    lines = [dict(step=i, lr=0.1, loss=2.0) for i in range(3)] + [{'step': 1, 'AP': 0.5}]
    files['scalars'].write_text('\n'.join(map(json.dumps, lines)))
    files['metrics'].write_text(json.dumps({'AP@0.5': 12.5, 'EPA': None}))
    sweeps = dict(delay={'0': {'AP': 1.0}, '0.1': {'AP': None}})
    files['robustness'].write_text(json.dumps(dict(about={}, sweeps=sweeps)))
    for name, (_, read) in READERS.items():
        read(str(files[name]))
    return files


@pytest.mark.parametrize('kind', DAMAGES)
def test_damage_by_chance(kind, good, tmp_path):
    reader = kind.removeprefix(INSIDE)
    damage = damaged if reader == kind else damaged_inside
    suffix, read = READERS[reader]
    content, path = good[reader].read_bytes(), str(tmp_path / f'damaged{suffix}')
    Path(path).parent.mkdir(parents=True, exist_ok=True)

    @settings(
        max_examples=NUMBER, deadline=None, derandomize='FUZZ' not in os.environ, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(CHANGES)
    def read_or_refuse(changes) -> None:
        Path(path).write_bytes(damage(content, changes))
        gc.disable()  # the garbage of 10,000 examples is not the reader's
        begin = time.process_time()
        try:
            read(path)
        except UserError as error:
            assert path in str(error) and len(str(error)) < len(path) + 1200
        finally:
            took = time.process_time() - begin
            gc.enable()
        assert took < 1 + Path(path).stat().st_size / 1e6

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_or_refuse()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def with_long_name(content: bytes) -> bytes:
    """A zip whose first name takes 1000 bytes of its array for letters."""
    place = content.index(b'PK\x03\x04') + 26
    return content[:place] + (1000).to_bytes(2, 'little') + content[place + 2 :]


@pytest.mark.parametrize(
    ('reader', 'damage'),
    [
        ('pcd_ascii', lambda c: c.replace(b'SIZE 4', b'SIZE ' + b'9' * 3000, 1)),
        ('map', lambda c: b'cos\nsystem' + b'9' * 5000 + b'\n' + c),
        ('infos', with_long_name),
    ],
)
def test_messages_stay_short_whatever_libraries_say(reader, damage, good, tmp_path):
    """Files such as chance has found."""
    suffix, read = READERS[reader]
    content, path = good[reader].read_bytes(), tmp_path / f'damaged{suffix}'
    assert damage(content) != content
    path.write_bytes(damage(content))
    with pytest.raises(DataFileError) as error:
        read(str(path))
    assert str(path) in str(error.value) and len(str(error.value)) < len(str(path)) + 700
    assert '\n' not in str(error.value)
