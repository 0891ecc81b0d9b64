"""The studies of recipes: what each runs, and what its page gets."""

import copy
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

from tools.benchmark import results
from tools.benchmark.pages import replace_table
from tools.benchmark.results import summary
from tools.costs.step_times import Step
from tools.studies import aggregators, figure1, fragility
from tools.studies.arms import ARMS, table
from turbotrain.balancing import AGGREGATORS, LOSS_BALANCERS
from turbotrain.recipes.settings import Settings
from turbotrain.recipes.stages import recipe_paths, stages_of

UNUSED = Settings(Path('unused'))


def test_each_fragile_choice_is_made_where_it_acts(data_root):
    """In all trainings with labels, and in pretraining if the trunk is another one."""
    settings = replace(UNUSED, data_root=data_root)
    stages = {
        (choice, stage.name): stage
        for choice in fragility.CHOICES
        for arm in ARMS.values()
        for stage in stages_of(recipe_paths()[arm], 0, settings, partial(fragility.choose, choice))
    }
    plain = {
        stage.name: stage.folder
        for arm in ARMS.values()
        for stage in stages_of(recipe_paths()[arm], 0, settings)
    }
    for (choice, name), stage in stages.items():
        acts = choice in (*fragility.TRUNK, fragility.ALL)
        acts |= choice != 'ours' and name != 'pretraining'
        assert (stage.folder != plain[name]) == acts, (choice, name)
    joint = [stages[choice, 'joint'] for choice in fragility.CHOICES]
    assert len({stage.folder for stage in joint}) == len(fragility.CHOICES)
    for name in ('joint', 'finetuning'):
        changed, usual = stages[fragility.ALL, name].config, stages['ours', name].config
        neck = changed.model.temporal_neck
        assert (neck.residual, neck.timed, neck.post_norm) == (False, False, True)
        assert changed.model.past_gradients and not usual.model.past_gradients
        assert changed.optim_wrapper.clip_grad is None
        optimizers = (cfg.optim_wrapper.optimizer for cfg in (changed, usual))
        assert math.isclose(next(optimizers).lr, fragility.RATE * next(optimizers).lr)
        (anneal,), (warm, usual_anneal) = changed.param_scheduler, usual.param_scheduler
        assert (anneal.type, warm.type) == ('CosineAnnealingLR', 'LinearLR')
        assert math.isclose(anneal.eta_min, fragility.RATE * usual_anneal.eta_min)
    for name in ('joint', 'pretraining', 'finetuning'):
        assert math.isfinite(Step(stages[fragility.ALL, name].config).run())


def test_arms_stand_side_by_side_and_one_that_failed_is_a_dash():
    measured = summary([{'AP@0.5/vehicle': 50.0, 'mAP@0.5': 30.0, 'EPA': 20.0}]) | dict(seeds=[1])
    assert table({'ours': dict(scratch=measured)}, 'choice', 1) == (
        '| choice | AP@0.5 of vehicles, scratch | AP@0.5 of vehicles, turbotrain | '
        'mAP@0.5, scratch | mAP@0.5, turbotrain | EPA, scratch | EPA, turbotrain |\n'
        '| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n'
        '| ours | 50.0 | – | 30.0 | – | 20.0 | – |\n'
    )
    assert '| ours | 50.0 (1 of 3 seeds) | – |' in table(dict(ours=dict(scratch=measured)), 'x', 3)


def test_a_shorter_arm_has_the_labelled_steps_of_turbotrain():
    short = figure1.plan([figure1.SHORTER], [0])[0]
    (stage,) = stages_of(short.recipe, 0, UNUSED, epochs=short.epochs)
    *_, finetuning = stages_of(recipe_paths()['turbotrain'], 0, UNUSED)
    assert stage.config.train_cfg.max_iters == finetuning.config.train_cfg.max_iters
    assert figure1.plan(['one-time_ma-mf'], [0])[0].epochs is None


def test_recipes_with_few_labels_pretrain_on_all_clouds(data_root):
    """All stages with labels see the same ones, pretraining all clouds; with all labels nothing
    changes, so that weights that were trained before are found again."""
    settings, recipe = Settings(Path('unused'), data_root=data_root), recipe_paths()['turbotrain']
    (all_,) = figure1.plan(['turbotrain'], [0])
    (few,) = figure1.plan(['turbotrain'], [0], 'one')
    (manual,) = figure1.plan(['manual'], [0], 'one')
    init_default_scope('mmdet3d')
    plain = list(stages_of(recipe, 0, settings))
    same = list(stages_of(all_.recipe, 0, settings, all_.change))
    assert [stage.folder for stage in same] == [stage.folder for stage in plain]
    pretraining, finetuning = stages_of(few.recipe, 0, settings, few.change)
    assert pretraining.folder == plain[0].folder and finetuning.folder != plain[1].folder
    labels = finetuning.config.train_dataloader.dataset.indices
    assert labels
    for stage in stages_of(manual.recipe, 0, settings, manual.change):
        assert stage.config.train_dataloader.dataset.indices == labels


def test_every_experiment_has_a_place_on_the_page():
    page = results.PAGE.read_text()
    for name in ('recipes', 'recipes_5', 'fragility', 'generalisation', 'aggregators'):
        renewed = replace_table(page, name, '| a table |\n')
        assert f'<!-- {name} -->\n\n| a table |\n\n<!-- end of {name} -->' in renewed
        assert replace_table(renewed, name, '| a table |\n') == renewed
    with pytest.raises(ValueError, match="the table 'other' are missing"):
        replace_table(page, 'other', '')


def test_costs_and_metrics_of_recipes_are_summed_up(tmp_path):
    def stage(samples: int, **metrics: float) -> dict:
        return dict(
            epochs=1, samples=samples, joules=None, metrics=metrics, hardware='toy',
            versions=dict(torch='2'), date='today',
            curve=[[10, dict(EPA=1.0)]] if metrics else [],
        )  # fmt: skip

    reached = {'AP@0.5/vehicle': 50.0, 'mAP@0.5': 30.0, 'EPA': 20.0}
    runs = {
        ('manual', 0): dict(S1=stage(100, **reached), S4=stage(100, **reached)),
        ('turbotrain', 0): dict(pretraining=stage(50), finetuning=stage(50, **reached)),
        ('turbotrain', 1): dict(
            pretraining=stage(50), finetuning=stage(50, **{**reached, 'EPA': 24.0})
        ),
    }
    seconds = {'manual/S1': 1.0, 'manual/S4': 3.0}
    seconds |= {'turbotrain/pretraining': 1.0, 'turbotrain/finetuning': 2.0}
    found = figure1.summarise(runs, ['manual', 'turbotrain'], seconds)
    assert found['manual']['compute'] == 1.0
    assert found['turbotrain']['compute'] == pytest.approx((50 + 100) / (100 + 300))
    assert found['turbotrain']['epa'] == 22.0 and found['turbotrain']['std']['epa'] == 2.8284
    assert found['turbotrain']['seeds'] == [0, 1]
    assert found['manual']['trained_on'] == ['toy, torch 2, today']
    text = figure1.table(found, 2)
    assert '| 2 | 1.000 | 50.0 (1 of 2 seeds) |' in text and '| 50.0 ± 0.0 | 30.0' in text
    # Another seed of a recipe, later: the other rows stay, at the step times of today.
    late = {run: stages for run, stages in runs.items() if run[0] == 'turbotrain'}
    twice = {name: 2 * value for name, value in seconds.items()}
    again = figure1.summarise(late, ['turbotrain'], twice, copy.deepcopy(found))
    assert again['turbotrain']['compute'] == found['turbotrain']['compute']
    # Validations after 10 iterations: manual's last one in S4, TurboTrain's in its second stage.
    assert found['manual']['seconds_to_manual_epa'] == 10.0
    assert found['turbotrain']['seconds_to_manual_epa'] == 50 + 20
    assert figure1.seconds_to(1.5, found['turbotrain']) is None
    for stages in runs.values():  # a trial so short that nothing is forecast
        for figures in stages.values():
            figures['curve'] = [[10, dict(EPA=0.0)]] if figures['metrics'] else []
    found = figure1.summarise(runs, ['manual', 'turbotrain'], seconds)
    assert {row['seconds_to_manual_epa'] for row in found.values()} == {None}
    figure1.draw(found, tmp_path / 'figure.png', 'Ours')
    assert (tmp_path / 'figure.png').exists()
    # Detection alone has no EPA, and that counts as nothing.
    assert summary([{'AP@0.5/vehicle': 1.0, 'mAP@0.5': 1.0}])['epa'] == 0.0


def test_every_way_of_balancing_differs_and_can_be_trained(data_root):
    """In the fine-tuning alone: all ways share one pretrained trunk."""
    settings, recipe = replace(UNUSED, data_root=data_root), recipe_paths()['turbotrain']
    stages = {
        way: list(stages_of(recipe, 0, settings, partial(aggregators.balance, change)))
        for way, change in aggregators.WAYS.items()
    }
    assert len({pretraining.folder for pretraining, _ in stages.values()}) == 1
    wrappers = {way: finetuning.config.optim_wrapper for way, (_, finetuning) in stages.items()}
    same = {'PCGrad', 'PCGrad, every 4th step'}
    assert len({str(wrappers[way]) for way in wrappers}) == len(wrappers) - len(same) + 1
    for way, wrapper in wrappers.items():
        tasks = list(wrapper.tasks)
        assert AGGREGATORS.build(dict(wrapper.aggregator)), way
        if 'balancer' in wrapper:
            assert LOSS_BALANCERS.build(dict(wrapper.balancer, tasks=tasks)), way
    for way in ('PCGrad, at the features', "prediction's weight x 5"):
        assert math.isfinite(Step(stages[way][1].config).run()), way
