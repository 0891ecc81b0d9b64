"""The real commands, on real files, typed somewhere else than in the project."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config

import tools.test
import tools.train
import tools.visualize
from tests.scenes import write_scenario
from turbotrain.commands import enable_amp, run_tool
from turbotrain.datasets import build_infos, save_infos
from turbotrain.errors import UserError
from turbotrain.recipes.processes import training_log

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / 'configs/turbotrain/mini'
SAMPLES = 6
ALL_DETECTIONS = (
    '--cfg-options', 'test_evaluator.forecasting_score_threshold=0.0',
    'model.test_cfg.score_thr=0.0',
)  # fmt: skip


@pytest.fixture(scope='module')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and mini's configs pointed at six samples of it."""
    root = tmp_path_factory.mktemp('workspace')
    data = root / 'data'
    for split, frames in (('train', range(0, 60, 5)), ('val', range(30)), ('test', range(35))):
        write_scenario(data, split, frames=frames if split == 'train' else frames[::5])
        save_infos(str(data / f'v2xpnp_infos_{split}.npz'), build_infos(str(data), split))
    for stage in ('pretrain', 'finetune'):
        cfg = Config.fromfile(MINI / f'{stage}_mini_v2xpnp.py')
        cfg.custom_imports.imports.append('tests.engine.weights_hook')
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='DumpWeightsHook')]
        cfg.train_dataloader.dataset.indices = SAMPLES
        for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            if cfg.get(key):
                cfg[key].dataset.data_root = str(data)
        cfg.dump(root / f'{stage}.py')
    return root


def run(*words: object, cwd: Path, ok: bool = True) -> str:
    """Run a command; its output."""
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, text=True, check=False, timeout=400,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # The package is found by the tools themselves, a hook of the tests is not.
        env=os.environ | dict(PYTHONPATH=str(ROOT), PYTHON=sys.executable),
    )  # fmt: skip
    assert (done.returncode == 0) == ok, done.stdout[-4000:]
    return done.stdout


def train(workspace: Path, stage: str, name: str, *words: object, **kwargs) -> str:
    return run(
        sys.executable, ROOT / 'tools/train.py', f'{stage}.py', '--work-dir', name, *words,
        cwd=workspace, **kwargs,
    )  # fmt: skip


def refused(monkeypatch: pytest.MonkeyPatch, tool: ModuleType, *words: object, cwd: Path) -> str:
    """The sentence that a command ends with; in this process, which spares it its imports."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, 'argv', [tool.__name__, *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        run_tool(tool.main)
    return str(stop.value)


def weights(workspace: Path, name: str, rank: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(workspace / name / f'weights_{rank}.pth', weights_only=True)


def losses(workspace: Path, name: str) -> list[float]:
    """A training's, as it logged them."""
    return [entry['loss'] for entry in training_log(workspace / name).train]


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.fixture(scope='module')
def pretrained(workspace: Path) -> Path:
    train(workspace, 'pretrain', 'pretrain')
    return workspace / 'pretrain/epoch_1.pth'


@pytest.fixture(scope='module')
def finetuned(workspace: Path, pretrained: Path) -> str:
    return train(
        workspace, 'finetune', 'finetune', '--cfg-options', f'load_from={pretrained}',
        'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
    )  # fmt: skip


def test_stage_one_hands_its_trunk_to_stage_two(workspace, pretrained, finetuned):
    trunk = {'encoder', 'backbone', 'neck', 'temporal_neck', 'fusion_neck', 'bev_neck'}
    taken = next(line for line in finetuned.splitlines() if 'weights trained' in line)
    for name in trunk - {'fusion_neck'}:
        assert f'{name} (' in taken.partition('; ')[0]
    assert 'carried along untrained: none' in taken
    assert 'fresh: fusion_neck, bbox_head, velocity_head, trajectory_head' in taken
    assert 'dropped: fusion_neck, mask_token, reconstruction_head' in taken
    state = torch.load(pretrained, weights_only=True)['state_dict']
    assert {key.split('.')[0] for key in state} == trunk | {'mask_token', 'reconstruction_head'}


def test_forecasts_of_true_boxes_are_told_by_class_and_speed(workspace, finetuned):
    printed = run(
        sys.executable, ROOT / 'tools/analysis/forecast_true_boxes.py', 'finetune.py',
        'finetune/epoch_1.pth', '--out', 'true_boxes.json', cwd=workspace,
    )  # fmt: skip
    found = json.loads((workspace / 'true_boxes.json').read_text())
    assert json.loads(printed.splitlines()[-1]) == found
    classes = [found[name] for name in ('vehicle', 'pedestrian', 'truck') if name in found]
    assert found['all']['objects'] == sum(row['objects'] for row in classes) > 0
    assert found['all']['ADE'] > 0
    # Standing still is worth what the bounds say, which read the annotations.
    bounds = run(
        sys.executable, ROOT / 'tools/analysis/forecast_bounds.py',
        '--infos', workspace / 'data/v2xpnp_infos_test.npz',
        '--eval-range', -51.2, -25.6, 51.2, 25.6, cwd=workspace,
    )  # fmt: skip
    wanted = json.loads(bounds.splitlines()[-1])['all']
    assert found['all']['ADE_stationary'] == pytest.approx(wanted['stationary']['ADE'], abs=0.01)
    assert found['all']['objects'] == wanted['objects']


def test_training_keeps_the_best_weights_and_draws_what_it_does(workspace, finetuned):
    assert 'eta: ' in finetuned
    (best,) = (workspace / 'finetune').glob('best_mAP@0.5_epoch_1.pth')
    assert torch.load(best, weights_only=True)['state_dict']
    pictures = sorted((workspace / 'finetune').glob('*/vis_data/vis_image/*.png'))
    assert [path.name for path in pictures] == [f'val_sample_{i}_{SAMPLES}.png' for i in range(3)]
    assert len({path.read_bytes() for path in pictures}) == 3
    assert list((workspace / 'finetune').glob('*/vis_data/events.out.tfevents*'))


def test_a_trunk_that_does_not_match_is_refused(workspace, pretrained, monkeypatch):
    words = ['finetune.py', '--work-dir', 'mismatch', '--cfg-options', f'load_from={pretrained}']
    said = refused(
        monkeypatch, tools.train, *words, 'model.backbone.layer_nums=[1,2]', cwd=workspace
    )  # fmt: skip
    assert "of 'backbone' do not match" in said
    assert 'backbone.blocks.1.6.weight is missing' in said


@pytest.fixture(scope='module')
def scored(workspace: Path, finetuned: str) -> dict:
    """Metrics of all detections, which ``found.jsonl`` keeps.

    By weights alone, and a config like the one that a resumed training leaves in its folder.
    """
    config = (workspace / 'finetune.py').read_text() + '\nresume = True\n'
    (workspace / 'resumed.py').write_text(config)
    run(
        sys.executable, ROOT / 'tools/test.py', 'resumed.py', 'finetune/best_mAP@0.5_epoch_1.pth',
        '--work-dir', 'scored', '--predictions', 'found.jsonl', *ALL_DETECTIONS, cwd=workspace,
    )  # fmt: skip
    return json.loads((workspace / 'scored/metrics.json').read_text())


def test_test_writes_metrics_and_visualize_a_picture(workspace, scored):
    words = [workspace / 'finetune.py', 'finetune/epoch_1.pth']
    for key in ('AP@0.5/vehicle', 'mAP@0.5', 'AP_frame_order@0.7/truck', 'EPA', 'EPA_stationary'):
        assert key in scored
    run(
        sys.executable, ROOT / 'tools/visualize.py', *words, '--index', 2, '--out', 'a.png',
        cwd=workspace,
    )  # fmt: skip
    assert (workspace / 'a.png').read_bytes()[:4] == b'\x89PNG'
    output = run(
        sys.executable, ROOT / 'tools/visualize.py', *words, '--index', 2, '--out', 'new/a.mp4',
        cwd=workspace,
    )  # fmt: skip
    assert '7 frames; drawing one took' in output
    assert (workspace / 'new/a.mp4').read_bytes()[4:8] == b'ftyp'


def test_saved_predictions_score_as_when_they_were_made(workspace, scored):
    """By a command that knows no model: those of test.py, which writes them on the way.

    And by two processes, which share seven samples: one of them is there twice.
    """
    run(
        'bash', ROOT / 'tools/dist_test.sh', 'finetune.py', 'finetune/epoch_1.pth', 2,
        '--work-dir', 'shared', '--predictions', 'shared.jsonl', *ALL_DETECTIONS, cwd=workspace,
    )  # fmt: skip
    found = (workspace / 'found.jsonl').read_text()
    assert found.count('\n') >= 7 and (workspace / 'shared.jsonl').read_text() == found
    output = run(
        sys.executable, ROOT / 'tools/analysis/evaluate.py', '--predictions', 'found.jsonl',
        '--infos', 'data/v2xpnp_infos_test.npz', '--eval-range', -51.2, -25.6, 51.2, 25.6,
        '--protocol', 'vip3d', 'uniad', '--out', 'scores.json', cwd=workspace,
    )  # fmt: skip
    assert 'EPA_not_found' in output
    scores = json.loads((workspace / 'scores.json').read_text())
    np.testing.assert_equal(scores['vip3d'], scored)
    np.testing.assert_equal(json.loads((workspace / 'shared/metrics.json').read_text()), scored)
    assert scored['mAP@0.3'] > 0 and scored['ADE'] > 0
    assert scores['uniad']['EPA_false_alarms'] > 0


def test_conflict_says_in_which_layers_tasks_fight(workspace, finetuned):
    output = run(
        sys.executable, ROOT / 'tools/analysis/conflict.py', workspace / 'finetune.py',
        'finetune/epoch_1.pth', '--batches', 99, '--out', 'layers.png', cwd=workspace,
    )  # fmt: skip
    layers = json.loads(output.splitlines()[-1])
    assert f'{len(layers)} layers over {SAMPLES} batches' in output
    parts = {layer.split('.')[0] for layer in layers}
    trunk = {'encoder', 'backbone', 'neck', 'temporal_neck', 'fusion_neck', 'bev_neck'}
    assert parts == trunk, 'heads share nothing'
    assert sum(values['share'] for values in layers.values()) == pytest.approx(1)
    assert all(-1 <= values['cosine'] <= 1 for values in layers.values())
    assert (workspace / 'layers.png').read_bytes()[:4] == b'\x89PNG'


def test_visualize_draws_a_reconstruction(workspace, pretrained, finetuned, monkeypatch):
    words = ['--reconstruction', '--index', 3, '--out', 'r.png']
    output = run(
        sys.executable, ROOT / 'tools/visualize.py', 'pretrain.py', pretrained, *words,
        cwd=workspace,
    )  # fmt: skip
    assert 'frame 15, sample 3 of 6' in output
    assert (workspace / 'r.png').read_bytes()[:4] == b'\x89PNG'
    given = ['finetune.py', 'finetune/epoch_1.pth', *words]
    said = refused(monkeypatch, tools.visualize, *given, cwd=workspace)
    assert '--reconstruction goes with a pretraining config' in said


def test_seeds_make_runs_equal_with_any_number_of_workers(workspace, pretrained, finetuned):
    train(
        workspace, 'finetune', 'again', '--cfg-options', f'load_from={pretrained}',
        'train_dataloader.num_workers=2',
    )  # fmt: skip
    assert_equal(weights(workspace, 'finetune'), weights(workspace, 'again'))
    other = train(
        workspace, 'finetune', 'other', '--cfg-options', f'load_from={pretrained}',
        'randomness.seed=1',
    )  # fmt: skip
    assert 'Epoch(train)' in other
    head = 'bbox_head.conv_cls.weight'
    assert not torch.equal(weights(workspace, 'finetune')[head], weights(workspace, 'other')[head])


def test_resume_reads_its_own_checkpoints(workspace, finetuned):
    output = train(
        workspace, 'finetune', 'finetune', '--resume', '--cfg-options', 'train_cfg.max_epochs=2'
    )
    assert 'resumed epoch: 1' in output
    assert (workspace / 'finetune/epoch_2.pth').exists()


def test_two_processes_end_with_equal_weights(workspace, pretrained):
    run(
        'bash', ROOT / 'tools/dist_train.sh', 'finetune.py', 2, '--work-dir', 'two',
        '--cfg-options', f'load_from={pretrained}', 'train_dataloader.num_workers=0',
        cwd=workspace,
    )  # fmt: skip
    first = weights(workspace, 'two', 0)
    assert_equal(first, weights(workspace, 'two', 1))
    start = torch.load(pretrained, weights_only=True)['state_dict']
    assert not torch.equal(
        start['fusion_neck.attention.weight'], first['fusion_neck.attention.weight']
    )


def test_testing_stage_ones_weights_is_refused(workspace, pretrained, monkeypatch):
    words = ['finetune.py', pretrained, '--work-dir', 'no']
    said = refused(monkeypatch, tools.test, *words, cwd=workspace)
    assert "'bbox_head' do not match the checkpoint" in said


def test_a_mistake_ends_with_a_sentence(workspace):
    output = train(workspace, 'finetune', 'mistake', '--resume', 'nothing.pth', ok=False)
    assert 'there is no checkpoint' in output.strip().splitlines()[-1]
    assert 'Traceback' not in output


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['load_from=nothing.pth'], ['run the pretrain config first']),
        (['data_root=elsewhere'], ['train_dataloader.dataset.data_root']),
        (
            ['load_from=None', 'train_dataloader.dataset.data_root=/nowhere/at/all'],
            ['/nowhere/at/all', 'tools/simulate.py', 'tools/create_data.py'],
        ),
    ],
)
def test_mistakes_end_with_a_sentence(workspace, options, expected, monkeypatch):
    words = ['finetune.py', '--work-dir', 'mistake', '--cfg-options', *options]
    said = refused(monkeypatch, tools.train, *words, cwd=workspace)
    assert '\n' not in said and all(part in said for part in expected)


def test_mixed_precision_changes_the_precision_alone(workspace, pretrained, finetuned):
    train(
        workspace, 'finetune', 'amp', '--amp', '--cfg-options', f'load_from={pretrained}',
        'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
    )  # fmt: skip
    prefix = 'Amp' if torch.cuda.is_available() else 'BFloat16'
    cfg = Config.fromfile(workspace / 'amp/finetune.py')
    assert cfg.optim_wrapper.type == f'{prefix}ConflictSuppressingOptimWrapper'
    mixed, full = weights(workspace, 'amp'), weights(workspace, 'finetune')
    assert {k: v.dtype for k, v in mixed.items()} == {k: v.dtype for k, v in full.items()}
    first, same = losses(workspace, 'amp')[0], losses(workspace, 'finetune')[0]
    assert first != same
    assert first == pytest.approx(same, rel=0.01)


@pytest.mark.parametrize('base', ['OptimWrapper', 'ConflictSuppressingOptimWrapper'])
def test_amp_takes_what_the_device_has(base, monkeypatch):
    def enabled(gpu: bool, **wrapper: object) -> dict:
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
        cfg = Config(dict(optim_wrapper=wrapper))
        enable_amp(cfg)
        return cfg.optim_wrapper.to_dict()

    scaled = dict(type=f'Amp{base}', loss_scale='dynamic', dtype='bfloat16', use_fsdp=False)
    assert enabled(True, **scaled) == scaled == enabled(True, **scaled | dict(type=base))
    for kind in (base, f'Amp{base}', f'BFloat16{base}'):
        assert enabled(False, type=kind) == dict(type=f'BFloat16{base}')
    assert enabled(False, **scaled) == dict(type=f'BFloat16{base}')
    assert enabled(True, type=f'BFloat16{base}') == dict(type=f'BFloat16{base}')
    with pytest.raises(UserError, match="a CPU trains in 'bfloat16', got 'float16'"):
        enabled(False, **scaled | dict(dtype='float16'))
    with pytest.raises(UserError, match="has optim_wrapper.type 'Other'"):
        enabled(False, type='Other')


def test_create_data_names_the_broken_file(workspace, tmp_path):
    folder = write_scenario(tmp_path, frames=range(0, 10, 5))
    broken = folder / '1' / '000005.yaml'
    broken.write_text('vehicles: {}\n')
    output = run(
        sys.executable, ROOT / 'tools/create_data.py', 'v2xpnp', '--root-path', tmp_path,
        cwd=tmp_path, ok=False,
    )  # fmt: skip
    last = output.strip().splitlines()[-1]
    assert str(broken) in last
    assert 'lidar_pose' in last
    assert not (tmp_path / 'v2xpnp_infos_train.npz').exists()
