"""The tools that measure pretraining do what they say they measure."""

import json
import runpy
from argparse import Namespace
from pathlib import Path

import pytest

from tools.studies.shares import SHARES, labelled
from turbotrain.errors import UserError
from turbotrain.recipes.settings import Settings
from turbotrain.recipes.stages import recipe_paths, stages_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def efficiency() -> dict:
    return runpy.run_path(str(ROOT / 'tools/studies/label_efficiency.py'))


@pytest.fixture(scope='module')
def cost() -> dict:
    return runpy.run_path(str(ROOT / 'tools/costs/pretraining.py'))


class Moments:
    """A data set of scenarios in mixed order, three samples each."""

    def __init__(self, scenarios: int) -> None:
        self.names = [f'{i * 7 % scenarios:03d}' for i in range(3 * scenarios)]

    def __len__(self) -> int:
        return len(self.names)

    def get_data_info(self, index: int) -> dict:
        return dict(scenario=self.names[index])


def test_shares_of_the_labels_are_nested_seeded_and_of_whole_scenarios():
    dataset = Moments(60)
    shares = [set(labelled(dataset, share, 0)) for share in SHARES]
    assert [len(share) for share in shares] == [3, 9, 18, 36, 90, 180]
    for smaller, larger in zip(shares, shares[1:], strict=False):
        assert smaller < larger
    for share in shares:
        names = {dataset.names[i] for i in share}
        assert share == {i for i, name in enumerate(dataset.names) if name in names}
    assert shares[1] == set(labelled(dataset, '5', 0)) != set(labelled(dataset, '5', 1))


def test_arms_differ_in_their_start_alone(efficiency, data_root):
    settings, recipe = Settings(Path('unused'), data_root=data_root), recipe_paths()['turbotrain']
    options = {'model.trajectory_head.loss_weight': 3}
    change = efficiency['change_of']('one', 0, options)
    plain = list(stages_of(recipe, 0, settings))
    pretraining, pretrained = stages_of(recipe, 0, settings, change)
    (scratch,) = stages_of(recipe, 0, settings, change, dict(pretraining=0))
    assert pretraining.config.to_dict() == plain[0].config.to_dict()
    assert pretraining.folder == plain[0].folder
    given, other = pretrained.config, scratch.config
    assert given.model.trajectory_head.loss_weight == other.model.trajectory_head.loss_weight == 3
    assert given.train_dataloader.dataset.indices
    assert given.load_from == str(pretraining.checkpoint) and other.load_from is None
    other.load_from, other.custom_hooks = given.load_from, given.custom_hooks
    assert other.to_dict() == given.to_dict()
    # The same from weights that a file has.
    start = pretraining.checkpoint
    (kept,) = stages_of(recipe, 0, settings, change, dict(pretraining=0), start)
    assert kept.config.to_dict() == given.to_dict()


def test_a_validation_that_saves_time_leaves_the_measurement_whole(efficiency, data_root):
    for split in ('val', 'test'):
        settings = Settings(Path('unused'), split=split, data_root=data_root)
        change = efficiency['change_of']('one', 0, None)
        *_, stage = stages_of(recipe_paths()['turbotrain'], 0, settings, change)
        assert stage.config.val_dataloader.dataset.indices
        assert 'indices' not in stage.config.test_dataloader.dataset


def test_gains_are_of_the_same_seed_and_have_an_error(efficiency, tmp_path):
    keys = efficiency['METRICS']
    found = {
        ('scratch', 'one'): [dict.fromkeys(keys, value) for value in (10.0, 20.0, 30.0)],
        ('pretrained', 'one'): [dict.fromkeys(keys, value) for value in (14.0, 25.0, 36.0)],
        ('scratch', '100'): [dict.fromkeys(keys, 50.0)],
        ('pretrained', '100'): [dict.fromkeys(keys, 49.0)],
    }
    result = efficiency['summarise'](found)
    for metric in keys:
        assert result['gain']['one'][metric] == 5.0
        assert result['gain_error']['one'][metric] == pytest.approx(0.58)  # 1 / sqrt(3)
        assert result['gain']['100'][metric] == -1.0
        assert result['gain_error']['100'][metric] is None
    row = result['metrics']['EPA']['pretrained']['one']
    assert row == dict(mean=25.0, std=11.0, values=[14.0, 25.0, 36.0])
    efficiency['draw'](result['metrics'], tmp_path / 'a.png')
    assert (tmp_path / 'a.png').read_bytes()[:4] == b'\x89PNG'
    assert '25.0 ± 11.0' in efficiency['table'](result['metrics'], ['one', '100'])


def test_what_was_measured_at_another_time_is_kept(efficiency):
    rows = [dict.fromkeys(efficiency['METRICS'], v) for v in (1.0, 3)]
    earlier, settings = efficiency['earlier'], dict(seeds=[0, 1])
    for empty in ({}, dict(methods={})):
        assert earlier(empty, [('scratch', 'one')], 'val', settings) == ({}, {})
    found = {(arm, share): rows for arm in ('scratch', 'pretrained') for share in ('one', '5')}
    took = dict(iterations=9, **settings)
    cost = {share: dict.fromkeys(('scratch', 'pretrained'), took) for share in ('one', '5')}
    written = json.loads(json.dumps(efficiency['summarise'](found) | dict(split='val', cost=cost)))
    asked = [('pretrained', '5'), ('pretrained', '10')]
    kept, costs = earlier(written, asked, 'val', settings)
    assert kept == {key: rows for key in found if key != ('pretrained', '5')}
    assert {share: {*arms} for share, arms in costs.items()} == {
        'one': {'scratch', 'pretrained'}, '5': {'scratch'},
    }  # fmt: skip
    with pytest.raises(UserError, match='of the split val, not test'):
        earlier(written, asked, 'test', settings)
    other = dict(seeds=[2])
    with pytest.raises(UserError, match=r'scratch, 5, with .*\[0, 1\].*, not with .*\[2\]'):
        earlier(written, asked, 'val', other)
    assert len(earlier(written, [('scratch', '10')], 'val', other)[0]) == 4


def test_one_arm_alone_has_no_gain(efficiency, tmp_path):
    rows = [dict.fromkeys(efficiency['METRICS'], 1.0)]
    result = efficiency['summarise']({('scratch', '5'): rows})
    assert result['gain'] == {}
    efficiency['draw'](result['metrics'], tmp_path / 'a.png')
    said = efficiency['table'](result['metrics'], ['one', '5'])
    assert '–' in said and '1.0' in said


def test_both_ways_ask_for_the_same_and_differ_in_what_is_encoded(cost, data_root):
    path = ROOT / 'configs/turbotrain/mini/pretrain_mini_v2xpnp.py'
    cfg = cost['pretraining_config'](path)
    args = Namespace(data_root=data_root, seed=0)
    batch = cost['open_batches'](args, cfg)[0]
    ways = [cost['Way'](cfg.model, visible, 0) for visible in (True, False)]
    seen, losses = [], []
    for way in ways:
        way.model.detector.encoder.register_forward_pre_hook(
            lambda module, args: seen.append(sum(len(cloud) for cloud in args[0]))
        )
        head = way.model.reconstruction_head['merged']
        head.register_forward_pre_hook(lambda module, args: losses.append(args[0].shape))
        assert way.step(batch, seed=1) > 0 and way.chamfer(batch, seed=1) > 0
    assert 0.2 < seen[0] / seen[1] < 0.4
    assert seen[1] == sum(batch['data_samples'][0].num_points)
    for one, other in zip(*(way.model.parameters() for way in ways), strict=True):
        assert one.shape == other.shape


def test_memory_at_full_size_is_bounded(cost):
    """All of masking and the head takes less than one array of the differences of all pairs."""
    memory = cost['full_size_memory'](0)
    assert memory['cells'] > 10_000
    assert memory['megabytes'] < 0.75 * memory['all_pairs']
