"""Who is the ego, whom it hears, and what the egos of a data set are."""

import shutil

import numpy as np
import pytest
import yaml
from torch.utils.data import DataLoader

from tests.scenes import write_scenario
from turbotrain.datasets import (
    EpochIndexSampler,
)


@pytest.mark.parametrize(
    ('mode', 'agents'), [('vc', [1, 2, -1, -2]), ('ic', [-1, -2, 1, 2]), ('v2v', [1, 2])]
)
def test_modes(make_dataset, mode, agents):
    assert make_dataset(mode=mode)[0]['data_samples'].agents.ids.tolist() == agents


def test_every_vehicle_is_the_ego_in_turn(make_dataset):
    dataset = make_dataset(ego='every')
    egos = [dataset.get_data_info(i)['agents'].ids[0] for i in range(len(dataset))]
    # Two vehicles, then one, then two; 12 frames each.
    assert egos == [1] * 12 + [2] * 12 + [2] * 12 + [1] * 12 + [2] * 12


def test_corridors_are_dropped(make_dataset):
    names = {make_dataset(drop_corridors=True).get_data_info(i)['scenario'] for i in range(24)}
    assert names == {'2023-03-17-16-12-12_3_0', '2023-03-18-16-12-12_4_0'}


def test_agents_out_of_range_are_not_heard(make_dataset):
    agents = make_dataset(comm_range=15.0)[0]['data_samples'].agents
    assert agents.ids.tolist() == [1, -1]
    assert make_dataset(max_agents=3)[0]['data_samples'].agents.ids.tolist() == [1, 2, -1]


def test_agents_out_of_range_add_no_labels(make_dataset, tmp_path):
    folder = write_scenario(tmp_path, frames=range(1), objects=4)
    path = folder / '2/000000.yaml'
    content = yaml.safe_load(path.read_text())
    content['vehicles'][77] = content['vehicles'][0]
    path.write_text(yaml.safe_dump(content))

    def labels(**settings) -> list[int]:
        truth = make_dataset(tmp_path, num_history=0, **settings)[0]['data_samples']
        return truth.gt_instances_3d.track_ids.tolist()

    assert labels() == [0, 1, 2, 3, 77]
    assert labels(comm_range=15.0) == labels(max_agents=1) == labels(mode='i2i') == [0, 1, 2, 3]


def test_agents_come_in_the_benchmarks_order(make_dataset, tmp_path):
    folder = write_scenario(tmp_path, frames=range(1), objects=1)
    for name in ('10', '9', '-10'):
        shutil.copytree(folder / ('-2' if name[0] == '-' else '2'), folder / name)

    def order(**settings) -> list[int]:
        settings = dict(max_agents=9, num_history=0) | settings
        return make_dataset(tmp_path, **settings)[0]['data_samples'].agents.ids.tolist()

    # By kind, then as strings.
    assert order() == [1, 10, 2, 9, -1, -10, -2]
    assert order(mode='ic') == [-1, -10, -2, 1, 10, 2, 9]
    assert order(max_agents=3) == [1, 10, 2]


def test_any_agent_may_be_the_ego(make_dataset):
    dataset = make_dataset(ego='any', num_history=0)
    assert len(dataset) == 36
    found = [dataset[36 * epoch + i]['data_samples'] for epoch in range(4) for i in range(12)]
    assert {int(s.agents.ids[0]) for s in found} == {1, 2, -1, -2}
    for sample in found:
        ego, *others = sample.agents.ids.tolist()
        assert others == [a for a in (1, 2, -1, -2) if a != ego and a in others]
        np.testing.assert_allclose(sample.agents.ego_from_agent[0, -1], np.eye(4), atol=1e-12)


@pytest.mark.parametrize(('ego', 'count'), [('first', 36), ('random', 36), ('every', 60)])
def test_number_of_samples(make_dataset, ego, count):
    assert len(make_dataset(ego=ego)) == count


def test_random_egos_are_new_in_each_epoch_and_the_same_on_every_road_to_them(make_dataset):
    dataset = make_dataset(ego='random')

    def egos(epoch: int, workers: int = 0) -> list[tuple]:
        sampler = EpochIndexSampler(dataset, shuffle=False)
        sampler.set_epoch(epoch)
        loader = DataLoader(
            dataset, batch_size=None, sampler=sampler, num_workers=workers, collate_fn=lambda x: x
        )
        found = [s['data_samples'] for s in loader]
        return [(s.scenario, s.frame, int(s.agents.ids[0])) for s in found]

    first, second, shared = egos(0), egos(1), egos(1, workers=2)
    assert second == shared == egos(1)
    assert first != second
    assert [e[:2] for e in first] == [e[:2] for e in second]
    # Both vehicles where there are two, the only one where there is one.
    assert {e[2] for e in first if e[0].endswith('_3_0')} == {1, 2}
    assert {e[2] for e in first if e[0].endswith('_4_0')} == {2}


def test_the_corridor_rule_spares_v2v(make_dataset):
    kept = make_dataset(drop_corridors=True, mode='v2v')
    assert len(kept) == len(make_dataset(mode='v2v')) > len(make_dataset(drop_corridors=True))


def test_roadside_modes(make_dataset):
    assert make_dataset(mode='i2i')[0]['data_samples'].agents.ids.tolist() == [-1, -2]
    egos = {make_dataset(mode='ic', ego='every').get_data_info(i)['agents'].ids[0] for i in (0, 13)}
    assert egos == {-1, -2}


def test_unknown_choices_are_refused(make_dataset):
    for wrong in (
        dict(mode='v2x'), dict(ego='second'), dict(class_map='v2xreal4'), dict(max_agents=0),
        dict(num_history=-1), dict(num_future=-2), dict(step=0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f'{next(iter(wrong))}.*{next(iter(wrong.values()))}'):
            make_dataset(**wrong)
