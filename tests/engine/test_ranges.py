"""Model and data of different ranges are told apart before anything is built."""

from pathlib import Path

import pytest
from mmengine.config import Config

from turbotrain.commands import launch
from turbotrain.engine.ranges import check_ranges, check_steps
from turbotrain.errors import UserError

CONFIGS = Path(__file__).parents[2] / 'configs'
FINETUNE = 'turbotrain/mini/finetune_mini_v2xpnp'
LARGER = [-102.4, -51.2, -5.0, 102.4, 51.2, 3.0]


def filters_of(value: object) -> list[dict]:
    """All filters of a pipeline, however deep inside data sets of data sets."""
    if isinstance(value, dict):
        own = [value] if value.get('type') == 'CooperativeRangeFilter' else []
        return own + [found for part in value.values() for found in filters_of(part)]
    return [f for part in value for f in filters_of(part)] if isinstance(value, list) else []


@pytest.mark.parametrize('loader', ['train_dataloader', 'val_dataloader', 'test_dataloader'])
@pytest.mark.parametrize('name', [FINETUNE, 'benchmark/mini/late-fusion_mini_v2xpnp'])
def test_a_filter_of_another_range_is_refused(name, loader):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    check_ranges(cfg)
    cfg[loader].dataset = dict(type='ConcatDataset', datasets=[cfg[loader].dataset])
    (found,) = filters_of(cfg[loader].to_dict())
    check_ranges(cfg)
    cfg[loader].dataset.datasets[0].pipeline[-2].point_cloud_range = LARGER
    assert found['point_cloud_range'] != LARGER
    with pytest.raises(UserError, match=rf'{loader}.*pipeline.*model\.point_cloud_range'):
        check_ranges(cfg)


@pytest.mark.parametrize('evaluator', ['val_evaluator', 'test_evaluator'])
def test_evaluation_may_look_at_less_but_not_at_more(evaluator):
    cfg = Config.fromfile(CONFIGS / f'{FINETUNE}.py')
    cfg[evaluator] = [cfg[evaluator]]
    cfg[evaluator][0].eval_range = (-30, -20, 30, 20)
    check_ranges(cfg)
    cfg[evaluator][0].eval_range = (-51.2, -25.6, 51.2, 30)
    with pytest.raises(UserError, match=rf'{evaluator}\[0\]\.eval_range reaches .* y 30 m'):
        check_ranges(cfg)


def test_commands_stop_before_anything_is_built(tmp_path):
    cfg = Config.fromfile(CONFIGS / 'turbotrain/mini/pretrain_mini_v2xpnp.py')
    cfg.model.detector.temporal_neck.point_cloud_range = LARGER
    cfg.update(launcher='none', work_dir=str(tmp_path))
    with pytest.raises(UserError, match=r'model\.detector\.temporal_neck\.point_cloud_range'):
        launch(cfg, 'train')
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    'name',
    [
        'turbotrain/finetune_v2xreal',
        'turbotrain/finetune_opv2v',
        'turbotrain/pretrain_v2v4real',
        'benchmark/late-fusion_v2xpnp',
        'recipes/stages/joint_sa-mf_v2xpnp',
        'mixed/pointpillars_kitti_pretrain',
        'mixed/centerpoint_nuscenes_balanced',
    ],
)
def test_our_configs_agree(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    check_ranges(cfg)
    check_steps(cfg)


@pytest.mark.parametrize(
    ('config', 'option', 'name'),
    [
        (FINETUNE, 'train_dataloader.dataset.step', r'model\.velocity_head\.step'),
        (FINETUNE, 'model.trajectory_head.step', r'model\.trajectory_head\.step'),
        (
            'benchmark/mini/late-fusion_mini_v2xpnp', 'model.step_interval',
            r'model\.step_interval',
        ),
    ],
)  # fmt: skip
def test_positions_in_other_steps_than_the_models_are_refused(config, option, name):
    cfg = Config.fromfile(CONFIGS / f'{config}.py')
    check_steps(cfg)
    cfg.merge_from_dict({option: 0.2})
    with pytest.raises(UserError, match=rf'_dataloader.*step is 0\.\d s, but {name} is 0\.\d s'):
        check_steps(cfg)
