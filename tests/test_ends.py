"""However a command ends before its time: what was there stays, nothing half written is left."""

import errno
import fcntl
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmengine.config import Config

import tools.check_dataset
import tools.create_data
import tools.export
import tools.infer
import tools.pack_dataset
import tools.publish
import tools.report
import tools.simulate
import tools.test
from tests.datasets.objects import objects
from tests.fuzzing import HEAD
from tests.scenes import write_scenario
from tools.benchmark import results
from tools.benchmark.robustness import Results
from turbotrain.commands import run_tool
from turbotrain.datasets import build_infos, packing, save_infos
from turbotrain.datasets.object_database import save_objects
from turbotrain.engine.checkpoint import DurableBackend
from turbotrain.evaluation.predictions import PredictionWriter
from turbotrain.online import CooperativeInferencer
from turbotrain.simulation import dataset as simulation
from turbotrain.visualization import save_figure, write_video
from turbotrain.whole_file import write_whole


@pytest.fixture(scope='module')
def data_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('ends')
    write_scenario(root, agents=(1,), frames=range(0, 10, 5), objects=2)
    save_infos(str(root / 'v2xpnp_infos_train.npz'), build_infos(str(root), 'train'))
    return root


def typed(tool, *words: object) -> Callable[[Path, pytest.MonkeyPatch], Callable]:
    """A command as it is typed; ``ROOT`` and ``OUT`` stand for folders."""

    def make(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        places = dict(ROOT=root, OUT=out)
        argv = [str(places.get(word, word)).replace('OUT', str(out)) for word in words]
        monkeypatch.setattr(sys, 'argv', [tool.__name__, *argv])
        return tool.main

    return make


def of(write: Callable[[Path], object]) -> Callable:
    """What writes a file in a command that would take seconds before."""
    return lambda root, out, monkeypatch: partial(write, out)


def create_data(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(tools.create_data, 'look_at', lambda *args: None)
    words = 'v2xpnp', '--root-path', 'ROOT', '--out-dir', 'OUT', '--workers', 1
    return typed(tools.create_data, *words)(root, out, monkeypatch)


def check(
    option: str, file: str, root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    monkeypatch.setattr(tools.check_dataset, 'check_dataset', lambda *args: [])
    return typed(tools.check_dataset, 'ROOT', option, file)(root, out, monkeypatch)


def simulate(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def finish(partial: Path, *args: object) -> dict:
        (partial / 'map').mkdir()
        return dict(generator=simulation.GENERATOR, scenarios={})

    monkeypatch.setattr(simulation, '_run', lambda *args: [])
    monkeypatch.setattr(simulation, '_finish', finish)
    return typed(tools.simulate, '--out', 'OUT')(root, out, monkeypatch)


def export(
    predicted: bool, root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    words = []
    if predicted:  # into the folder of this very export
        words = ['--predictions', root / 'predictions.jsonl']
        words[1].write_text(json.dumps(HEAD))
        monkeypatch.setattr(tools.export, 'begin_export', lambda *args: None)
    infos = root / 'v2xpnp_infos_train.npz'
    return typed(tools.export, 'nuscenes', '--infos', infos, '--out', 'OUT', *words)(
        root, out, monkeypatch
    )


def pack(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    read = packing.read_bytes
    monkeypatch.setattr(packing, 'read_bytes', lambda path: (os.fsync(-1), read(path))[1])
    return typed(tools.pack_dataset, 'ROOT', '--out', 'OUT/store')(root, out, monkeypatch)


def report(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(tools.report, 'read_runs', lambda folders: folders)
    monkeypatch.setattr(tools.report, 'render_report', lambda *args: '<html>')
    monkeypatch.chdir(root)  # the command changes it
    return typed(tools.report, 'ROOT', '--out', 'OUT/page.html')(root, out, monkeypatch)


def test(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    cfg = SimpleNamespace(work_dir=str(out), custom_hooks=[])
    monkeypatch.setattr(tools.test, 'load_config', lambda *args: cfg)
    monkeypatch.setattr(tools.test, 'launch', lambda *args: dict(ap=1.0))
    return typed(tools.test, 'config.py', 'epoch_1.pth')(root, out, monkeypatch)


test.__test__ = False


def predictions(out: Path) -> None:
    writer = PredictionWriter(str(out / 'predictions.jsonl'))
    writer.dataset_meta = dict(classes=['Car'])
    writer.compute_metrics([('{}', None)])


def infer(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    class Inferencer(CooperativeInferencer):
        def __init__(self, *args: object) -> None:
            self.pipeline = SimpleNamespace(metainfo=dict(classes=['Car']))

        def samples(self, *args: object, **kwargs: object) -> Iterator:
            return iter([(SimpleNamespace(to_dict=dict), [])])

        visualize = postprocess = lambda *args, **kwargs: {}

    def process(writer: PredictionWriter, *args: object) -> None:
        writer.results.append(('{}', None))

    monkeypatch.setattr(tools.infer, 'load_config', lambda *args: None)
    monkeypatch.setattr(tools.infer, 'CooperativeInferencer', Inferencer)
    monkeypatch.setattr(PredictionWriter, 'process', process)
    words = 'config.py', 'a.pth', 'ROOT', '--out', 'OUT'
    return typed(tools.infer, *words)(root, out, monkeypatch)


def publish(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    dataset = dict(type='V2XPnPDataset', mode='vc')
    cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
    content = dict(state_dict=dict(a=torch.ones(2)))
    monkeypatch.setattr(tools.publish, 'read_checkpoint', lambda path: content)
    monkeypatch.setattr(tools.publish, 'load_config', lambda *args: cfg)
    for name in ('test', 'small_metrics'):
        monkeypatch.setattr(tools.publish, name, lambda *args: {})
    config = tools.publish.ROOT / 'configs/a.py'
    words = config, 'a.pth', '--command', 'make demo', '--out', 'OUT'
    return typed(tools.publish, *words)(root, out, monkeypatch)


def save_results(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(results, 'circumstances', lambda command: dict(command=command))
    monkeypatch.setitem(sys.modules, '__main__', SimpleNamespace(__file__=results.__file__))
    same = dict(split='val', seeds=[0], epoch_iters=None, data_root=None, amp=False)
    args = SimpleNamespace(**same, out=out / 'results.json')
    return partial(results.save, 'speed', {}, '', args)


# What each writes, and how it is called.
WRITERS = {
    'create_data': ('v2xpnp_infos_train.npz', create_data),
    'check_dataset --json': ('all.json', partial(check, '--json', 'OUT/all.json')),
    'check_dataset --fix-list': ('fix.json', partial(check, '--fix-list', 'OUT/fix.json')),
    'pack_dataset': ('store', pack),
    'simulate': ('summary.json', simulate),
    'export': ('export.json', partial(export, False)),
    'export --predictions': ('results_nusc.json', partial(export, True)),
    'create_object_database': (
        'objects.npz', of(lambda out: save_objects(str(out / 'objects.npz'), objects()))
    ),
    'train': ('epoch_1.pth', of(lambda out: DurableBackend().put(b'new', out / 'epoch_1.pth'))),
    'test': ('metrics.json', test),
    'test --predictions': ('predictions.jsonl', of(predictions)),
    'infer': ('predictions.jsonl', infer),
    'publish': ('a.pth', publish),
    'report': ('page.html', report),
    'visualize': (
        'a.png', of(lambda out: save_figure(Figure(figsize=(1, 1)), out / 'a.png'))
    ),
    'visualize a video': (
        'a.mp4', of(lambda out: write_video(out / 'a.mp4', [np.zeros((64, 64, 3), np.uint8)], 10))
    ),
    'robustness': ('robustness.json', of(lambda out: Results(out, {}).add('delay', 1, {}))),
    'benchmarks': ('results.json', save_results),
}  # fmt: skip


# Those that look at a file of that name first, and go on from it.
GO_ON = 'robustness', 'export'


def raise_signal(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)  # until Python takes notice


def full(file: int) -> None:
    raise OSError(errno.ENOSPC, 'No space left on device')


def read_only(original: Callable, path: object, *args: object, **kwargs: object) -> object:
    if '.partial' in str(path):
        raise OSError(errno.EROFS, 'Read-only file system', str(path))
    return original(path, *args, **kwargs)


@pytest.fixture
def second(tmp_path) -> Iterator[Callable[[str], None]]:
    held = []

    def hold(name: str) -> None:
        partial = tmp_path / f'{name}.partial'
        partial.mkdir() if name == 'store' else partial.touch()
        held.append(os.open(partial, os.O_RDONLY))
        fcntl.flock(held[0], fcntl.LOCK_EX)

    yield hold
    for file in held:
        os.close(file)


ENDS = {
    'full disk': 'No space left on device; make room and repeat',
    'read-only': 'Read-only file system',
    'SIGINT': 'interrupted',
    'SIGTERM': 'ended by SIGTERM',
    'second run': 'another process is writing it; wait for its end, or name another output',
}


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('command', WRITERS)
def test_what_is_left(command, end, data_root, tmp_path, monkeypatch, second):
    name, make = WRITERS[command]
    old = tmp_path / name
    if command == 'pack_dataset':
        old.mkdir()
        old = old / 'data.mdb'
    old_content = b'{}' if command in ('robustness', 'benchmarks') else b'old'
    if command == 'simulate':
        old_content = f'{{"generator": "{simulation.GENERATOR}"}}'.encode()
    if command not in GO_ON:
        old.write_bytes(old_content)
    main = make(data_root, tmp_path, monkeypatch)
    if end == 'second run':
        second(name)
    elif end == 'read-only':
        # Python 3.10's pathlib keeps functions of its own.
        accessor = getattr(pathlib, '_NormalAccessor', os)
        for owner, function in ((os, 'open'), (os, 'mkdir'), (accessor, 'mkdir')):
            monkeypatch.setattr(owner, function, partial(read_only, getattr(owner, function)))
    elif end == 'full disk':
        monkeypatch.setattr(os, 'fsync', full)
    else:
        number = signal.Signals[end]
        monkeypatch.setattr(os, 'fsync', lambda file: raise_signal(number))
    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    said = str(ended.value.code)
    assert said.startswith('error: ') and ENDS[end] in said and '\n' not in said
    monkeypatch.undo()
    if command not in GO_ON:
        assert old.read_bytes() == old_content
    left = {path.name for path in tmp_path.rglob('*partial*')} - {f'{name}.partial'}
    assert not left - ({'.partial'} if end in ('second run', 'read-only') else set())
    assert (tmp_path / f'{name}.partial').exists() == (end == 'second run')


@pytest.mark.parametrize('left', [b'', b'x', b'x' * 100])
def test_what_a_killed_command_left_is_replaced(left, tmp_path):
    (tmp_path / 'a.json.partial').write_bytes(left)
    write_whole(tmp_path / 'a.json', 'new')
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']
    assert (tmp_path / 'a.json').read_text() == 'new'
