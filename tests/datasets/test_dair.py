"""One scene in the layouts of DAIR-V2X-C and V2X-Seq gives the samples of V2XPnP-Seq."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config

from tests.commands import run_main
from tests.dair import NAMES, open_as
from tests.layouts import rewrite
from tests.scenes import write_scenario
from tools import check_dataset as check_tool
from tools import create_data as create_tool
from turbotrain.datasets import V2XPnPDataset, build_infos, load_infos, save_infos
from turbotrain.datasets.readers import DIALECTS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.fixture(scope='module')
def scene(tmp_path_factory) -> dict[str, Path]:
    """One scene of a vehicle and a roadside unit, each of which labels what the other does not."""
    roots = {name: tmp_path_factory.mktemp('scene') / name for name in ('v2xpnp', *NAMES)}
    source = roots['v2xpnp']
    write_scenario(source, agents=(1, -1), frames=range(0, 40, 5), objects=14, seed=4)
    for agent, missing in ((1, (0, 5)), (-1, (1, 5))):
        for path in source.glob(f'train/*/{agent}/*.yaml'):
            content = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
            twin = yaml.safe_load((path.parents[1] / '1' / path.name).read_text())
            for key, item in list(content['vehicles'].items()):
                # The readers take what is over the vehicle's LiDAR for the vehicle itself.
                apart = np.subtract(item['location'], twin['lidar_pose'][:3])[:2]
                if key in missing or np.hypot(*apart) < 2:
                    del content['vehicles'][key]
            path.write_text(yaml.dump(content, Dumper=yaml.CSafeDumper))
    for name in NAMES:
        rewrite(source, roots[name], name)
    return roots


@pytest.mark.parametrize('dataset', NAMES)
def test_the_same_samples_from_every_layout(scene, dataset):
    changes = dict(num_future=0) if dataset == 'dair_v2x_c' else {}
    expected = open_as(scene['v2xpnp'], 'v2xpnp', **changes)
    found = open_as(scene[dataset], dataset)
    assert len(found) == len(expected) == 8
    for i in (0, 3, 7):
        one, other = expected[i], found[i]
        points, theirs = one['inputs']['points'], other['inputs']['points']
        assert points.shape == theirs.shape
        np.testing.assert_allclose(theirs[:, :3], points[:, :3], atol=1e-4)
        np.testing.assert_allclose(theirs[:, 3], points[:, 3], atol=0.5 / 255 + 1e-6)
        agents, their_agents = one['data_samples'].agents, other['data_samples'].agents
        for key, value in vars(agents).items():
            np.testing.assert_allclose(getattr(their_agents, key), value, atol=1e-5, err_msg=key)
        truth, theirs = (s['data_samples'].gt_instances_3d for s in (one, other))
        assert len(truth) == len(theirs) > 5
        order, their_order = (t.bboxes_3d.tensor[:, 0].argsort() for t in (truth, theirs))
        # Without tracks the past of an object is not known, and its id is of one frame alone.
        unknown = () if DIALECTS[dataset].tracks else ('track', 'history', 'velocity', 'accel')
        for key in [*truth.keys()]:
            if key.startswith(unknown):
                continue
            a, b = truth[key], theirs[key]
            a, b = (a.tensor, b.tensor) if key == 'bboxes_3d' else (a, b)
            torch.testing.assert_close(b[their_order], a[order], rtol=0, atol=1e-4)


@pytest.mark.parametrize('dataset', NAMES)
def test_good_sets_are_recognised_and_nothing_is_wrong(scene, dataset, monkeypatch, capsys):
    root = scene[dataset]
    assert run_main(check_tool, monkeypatch, root, '--workers', 1) == 0
    out = capsys.readouterr().out
    assert f'read as {dataset}: there is' in out
    kinds = {line[9:31].strip() for line in out.splitlines() if line.startswith('warning')}
    assert kinds - {'class not in map', 'yaw against motion'} == (
        {'no tracks', 'labels in view only'} if dataset == 'dair_v2x_c' else set()
    )
    words = dataset, '--root-path', root, '--workers', 1
    assert run_main(create_tool, monkeypatch, *words) == 0
    infos = load_infos(str(root / f'{dataset}_infos_train.npz'))
    assert str(infos.dataset) == dataset and infos.labelled.all() and not infos.lag.any()
    other = NAMES[1 - NAMES.index(dataset)]
    refused = run_main(create_tool, monkeypatch, other, '--root-path', root, '--workers', 1)
    assert 'missing' in str(refused) or dataset in str(refused)


@pytest.mark.parametrize('dataset', NAMES)
def test_the_other_set_s_correction_would_be_seen(scene, dataset, monkeypatch):
    """Corrections swapped between the sets put the roadside unit elsewhere."""
    good = build_infos(str(scene[dataset]), 'train', dataset).world_from_agent
    expected = build_infos(str(scene['v2xpnp']), 'train').world_from_agent
    np.testing.assert_allclose(good, expected, atol=1e-6)
    dialect = DIALECTS[dataset]
    swapped = type(dialect)(
        **vars(dialect) | dict(correction=DIALECTS[NAMES[dataset == NAMES[0]]].correction)
    )
    monkeypatch.setitem(DIALECTS, dataset, swapped)
    bad = build_infos(str(scene[dataset]), 'train', dataset).world_from_agent
    assert np.abs(bad - expected).max() > 0.02


@pytest.mark.parametrize('dataset', NAMES)
def test_configs_read_what_create_data_writes(scene, dataset):
    cfg = Config.fromfile(CONFIGS / f'_base_/datasets/{dataset}.py')
    settings = cfg.train_dataloader.dataset
    settings.pop('type')
    save_infos(
        str(scene[dataset] / settings.ann_file), build_infos(str(scene[dataset]), 'train', dataset)
    )
    sample = V2XPnPDataset(**settings | dict(data_root=str(scene[dataset])))[0]
    assert len(sample['data_samples'].agents) == 2 and len(sample['inputs']['points'])
    assert len(sample['data_samples'].gt_instances_3d)
    pretrain, finetune = (
        Config.fromfile(CONFIGS / f'turbotrain/{stage}_{dataset}.py')
        for stage in ('pretrain', 'finetune')
    )
    heads = dict.fromkeys(('velocity_head', 'trajectory_head') * (dataset == NAMES[0]))
    assert finetune.model == dict(pretrain.model.detector) | heads
    assert finetune.test_evaluator.class_names == ('vehicle',)
