"""Samples of raw input are those that the data set makes of the same files, bit for bit."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.layouts import rewrite
from tests.online.recordings import moment_of
from tests.scenes import write_scenario
from turbotrain.datasets import V2XPnPDataset, build_infos, save_infos
from turbotrain.datasets.readers import DataFileError
from turbotrain.datasets.transforms import LoadCooperativePoints
from turbotrain.errors import SettingError
from turbotrain.online.moment import AgentClouds, Moment
from turbotrain.online.samples import UnlabelledMoments, open_folder
from turbotrain.structures import Agents

PIPELINE = [
    dict(type='LoadCooperativePoints', zero_intensity=False),
    dict(type='LoadVectorMap'),
    dict(type='ProjectPointsToEgo'),
    dict(type='CooperativeRangeFilter', point_cloud_range=[-60, -40, -5, 60, 40, 3]),
    dict(type='PackCooperativeInputs'),
]
# Of each mode the agents in no order, the ego first.
AGENTS = dict(vc=[1, -2, 2, -1], ic=[-1, 2, 1, -2], v2v=[1, -1, -2, 2], i2i=[-1, 1, -2, 2])


def settings(mode: str = 'vc', pipeline: list[dict] = PIPELINE, **more: object) -> dict:
    return dict(mode=mode, num_history=2, pipeline=pipeline, test_mode=True, **more)


def labelled(scenario: Path, dataset: str = 'v2xpnp', **kwargs: object) -> V2XPnPDataset:
    root = scenario.parents[1]
    path = root / f'{dataset}_infos.npz'
    if not path.exists():
        save_infos(str(path), build_infos(str(root), scenario.parent.name, dataset))
    return V2XPnPDataset(path.name, str(root), **kwargs)


def assert_equal(found: dict, expected: dict, first: bool = False) -> None:
    assert torch.equal(found['inputs']['points'], expected['inputs']['points'])
    one, other = found['data_samples'], expected['data_samples']
    for field in fields(Agents):
        if first and field.name == 'speeds':
            continue  # recordings know where an agent goes next
        a, b = getattr(one.agents, field.name), getattr(other.agents, field.name)
        np.testing.assert_array_equal(a, b, strict=True)
    assert one.num_points == other.num_points
    assert (one.scenario, one.frame) == (other.scenario, other.frame)
    np.testing.assert_array_equal(one.vector_map, other.vector_map, strict=True)
    np.testing.assert_array_equal(one.vector_map_mask, other.vector_map_mask, strict=True)
    assert 'gt_instances_3d' not in one


@pytest.mark.parametrize('mode', AGENTS)
def test_moments_are_the_data_sets_samples(scenario, mode):
    dataset = labelled(scenario, **settings(mode))
    # Data sets do not hear whom they have nothing of now.
    moments = UnlabelledMoments(settings(mode), 'v2xpnp', max_delay=0.0)
    assert len(dataset) >= 5
    for i in range(len(dataset)):
        expected = dataset[i]
        now = expected['data_samples'].frame
        frames = [*range(0, now + 1, 5)]
        for arrays in (False, True):
            # Another order and ends that lie beyond: what is heard is the ego's mode's business.
            found = moments(moment_of(scenario, AGENTS[mode], frames, arrays))
            assert_equal(found, expected, first=i == 0)
    assert not expected['data_samples'].agents.valid.all()


def test_a_late_agent_is_as_late_as_in_training(scenario):
    late = [dict(type='CooperativeDelay', delay={2: 0.5}), *PIPELINE]
    expected = labelled(scenario, **settings(pipeline=late))[4]
    moment = moment_of(scenario, AGENTS['vc'], [0, 5, 10, 15, 20])
    number = AGENTS['vc'].index(2)
    agents = [*moment.agents]
    agents[number] = moment_of(scenario, [2], [0, 5, 10, 15]).agents[0]
    late = replace(moment, agents=agents)
    found = UnlabelledMoments(settings(), 'v2xpnp', max_delay=0.5)(late)
    assert found['data_samples'].agents.delays.tolist() == [0, 0.5, 0, 0]
    assert_equal(found, expected)
    # Too late to be heard.
    found = UnlabelledMoments(settings(), 'v2xpnp', max_delay=0.4)(late)
    assert found['data_samples'].agents.ids.tolist() == [1, -1, -2]


def test_clouds_of_a_running_lidar(scenario):
    """Ten a second, not quite in time, and some from after the ego's newest."""
    moment = moment_of(scenario, [1, 2], [0, 5, 10], arrays=True)
    moments = UnlabelledMoments(settings(), 'v2xpnp', max_delay=0.5)
    expected = moments(moment)
    other = moment.agents[1]
    pose, dark = other.poses[-1], np.full((3, 4), 9.0, np.float32)
    times = [99.98, 100.1, 100.5, 100.97, 101.04, 101.1]
    clouds = [other.clouds[0], dark, other.clouds[1], other.clouds[2], dark, dark]
    poses = [other.poses[0], pose, other.poses[1], pose, pose, pose]
    running = replace(other, clouds=clouds, poses=poses, times=times)
    found = moments(replace(moment, agents=[moment.agents[0], running]))
    assert_equal(found, expected)


@pytest.mark.parametrize('off', [0.05, 0.047, 0.053, 0.02])
def test_a_lidar_between_the_egos_frames_has_all_of_its_history(scenario, off):
    moment = moment_of(scenario, [1, 2], [0, 5, 10], arrays=True)
    other = moment.agents[1]
    late = np.resize([0.002, -0.002], 12)  # a LiDAR does not turn quite evenly
    times = other.times[-1] - off - np.arange(12)[::-1] / 10 + late
    clouds = [np.full((3, 4), time, np.float32) for time in times]
    running = AgentClouds(clouds, [other.poses[-1]] * len(times), times, id=2)
    moments = UnlabelledMoments(settings(), 'v2xpnp', max_delay=0.5)
    results = moments.results(replace(moment, agents=[moment.agents[0], running]))
    paths = results['cloud_paths'][3:]
    assert all(paths), 'a frame is missing'
    found = [results['clouds'][path][0, 0] for path in paths]
    assert found == pytest.approx(times[[1, 6, 11]])
    # As old as the nearest frame number says.
    assert results['agents'].delays == pytest.approx([0, round(10 * off + 0.02) / 10])


def test_points_without_intensity_and_in_double_precision(scenario):
    moment = moment_of(scenario, [1], [0], arrays=True)
    moments = UnlabelledMoments(settings(), 'v2xpnp', max_delay=0.5)
    expected = moments(moment)['inputs']['points']
    (cloud,) = moment.agents[0].clouds
    plain = cloud[:, :3].astype(np.float64)
    before = plain.copy()
    found = moments(Moment([replace(moment.agents[0], clouds=[plain])]))['inputs']['points']
    assert torch.equal(found[:, :3], expected[:, :3]) and not found[:, 3].any()
    assert np.array_equal(plain, before)


def test_a_pipeline_may_be_given_clouds_column_by_column(scenario):
    moment = moment_of(scenario, [1], [0, 5], arrays=True)
    results = UnlabelledMoments(settings(), 'v2xpnp', max_delay=0.5).results(moment)
    columns = {path: np.asfortranarray(cloud) for path, cloud in results['clouds'].items()}
    load = LoadCooperativePoints()
    expected, found = load(dict(results))['points'], load(results | dict(clouds=columns))['points']
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


GOOD = dict(clouds=[np.zeros((5, 4), np.float32)], poses=[[0.0] * 6])
NAN = [0.0, 0, 0, np.nan, 0, 0]


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(clouds=[], poses=[], times=[]), 'vehicle 1: expected clouds and as many poses'),
        (dict(poses=[]), 'as many poses and times'),
        (dict(times=[0.0, 1.0]), "'times': 2"),
        (dict(poses=[NAN]), r'poses\[0\]: expected six finite numbers'),
        (dict(poses=[np.diag([2.0, 1, 1, 1])]), 'or a rigid 4x4 matrix, got'),
        (dict(poses=['here']), 'expected six finite numbers'),
        (dict(clouds=[np.zeros((5, 2))]), r'clouds\[0\]: expected an array \(P, 4\)'),
        (dict(clouds=[np.zeros(5)]), r'got float64 \(5,\)'),
        (dict(clouds=[[[0.0, 0, 0, 0]]]), "got <class 'list'>"),
        (dict(clouds=['a.las']), "expected a file \\('.bin', '.pcd'\\), got 'a.las'"),
        (dict(clouds=['nowhere.pcd']), "there is no file 'nowhere.pcd'"),
        (dict(times=[np.nan]), 'times: expected finite seconds, rising'),
        (dict(times=['now']), 'times: expected finite seconds, rising'),
        (
            dict(clouds=2 * GOOD['clouds'], poses=2 * GOOD['poses'], times=[1.0, 0.5]),
            'rising, got',
        ),
        (dict(kind='drone'), r"kind: expected one of \['vehicle', 'infrastructure'\], got 'drone'"),
        (dict(id=0), 'id: expected a number from 1'),
        (dict(kind='infrastructure'), "the ego, in mode 'vc' of the config of kind 'vehicle'"),
    ],
)
def test_bad_input_is_named(changes, words):
    moments = UnlabelledMoments(settings(), 'v2xpnp', max_delay=0.5)
    with pytest.raises(SettingError, match=words):
        moments(Moment([AgentClouds(**(GOOD | changes))]))


def test_bad_moments_and_clouds_are_named(tmp_path):
    moments = UnlabelledMoments(settings(), 'v2xpnp', max_delay=0.5)
    agent = AgentClouds(**GOOD)
    for agents, words in (
        ([], 'expected one AgentClouds or more'),
        ([dict(GOOD)], r"got \['dict'\]"),
        ([agent, agent], 'vehicle 1 stands twice'),
    ):
        with pytest.raises(SettingError, match=words):
            moments(Moment(agents))
    with pytest.raises(DataFileError, match='vehicle 1, cloud at 0.0 s: has coordinates beyond'):
        moments(Moment([replace(agent, clouds=[np.full((5, 4), 1e6)])]))
    (tmp_path / 'a.bin').write_bytes(b'\x00' * 17)
    with pytest.raises(DataFileError, match='a.bin: has 17 bytes'):
        moments(Moment([replace(agent, clouds=[tmp_path / 'a.bin'])]))


@pytest.mark.parametrize('dataset', ['v2xpnp', 'opv2v', 'v2v4real'])
def test_folders_need_no_labels(dataset, tmp_path):
    frames = range(0, 10, 5)
    scenario = write_scenario(tmp_path / 'source', agents=(1, -1), frames=frames, objects=1)
    root = tmp_path / dataset
    rewrite(tmp_path / 'source', root, dataset)
    own = settings(class_map=dict(thing=['Car', 'Truck', 'Pedestrian', 'PoliceCar', 'Bus']))
    expected = labelled(root / 'train' / scenario.name, dataset, **own)
    samples = [expected[i] for i in range(len(expected))]
    for path in (root / 'train').glob('*/*/*.yaml'):
        content = yaml.load(path.read_text(), Loader=yaml.UnsafeLoader)
        if 'lidar_pose' in content:
            path.write_text(yaml.dump(dict(lidar_pose=content['lidar_pose'])))
    for folder in (root / 'train', root / 'train' / scenario.name):
        found = open_folder(str(folder), own, dataset)
        assert len(found) == len(samples)
        for i, sample in enumerate(samples):
            assert_equal(found[i], sample)


def test_folders_that_are_none_are_named(scenario, tmp_path):
    for folder, words in (
        (tmp_path / 'nowhere', 'is not a folder'),
        (tmp_path, 'has no folders; expected scenarios'),
        (scenario.parents[1], 'expected a folder of scenarios or of one scenario; name one of'),
        (scenario / '1', 'has no folders'),
    ):
        with pytest.raises(DataFileError, match=words):
            open_folder(str(folder), settings(), 'v2xpnp')
