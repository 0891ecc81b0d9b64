"""Steps are seconds, whatever the recording counts; a step that it cannot meet is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tools.costs.loading import synthetic_infos
from turbotrain.datasets import V2XPnPDataset, save_infos
from turbotrain.datasets.readers import DataFileError

GAPS = sorted({*range(60)} - {3, 7, 8, 31})


def write(folder: Path, dataset: str, numbers: list[int]) -> Path:
    """Infos of two vehicles with frames of these numbers; two objects are always there."""
    count = len(numbers)
    infos = synthetic_infos(2 * count, agents=2, frames=count, objects=2)
    frame = np.tile(np.array(numbers, dtype=np.int32), 2)
    path = folder / f'{dataset}_infos_train.npz'
    save_infos(str(path), replace(infos, dataset=np.array(dataset), frame=frame))
    return path


def open_infos(path: Path, **settings) -> V2XPnPDataset:
    return V2XPnPDataset(
        path.name, str(path.parent), mode='v2v', pipeline=[], test_mode=True, **settings
    )


@pytest.mark.parametrize(
    ('dataset', 'numbers', 'now'),
    [
        ('v2xpnp', range(60), 25),
        ('v2xreal', range(0, 60, 5), 25),
        ('opv2v', range(60, 180, 2), 110),
        ('v2xset', range(69, 189, 2), 119),
        ('v2v4real', range(60), 25),
    ],
)
def test_two_seconds_back_and_three_ahead_at_every_rate(tmp_path, dataset, numbers, now):
    found = open_infos(write(tmp_path, dataset, list(numbers)))
    sample = found[list(numbers).index(now)]
    assert sample['frame'] == now
    assert sample['agents'].valid.shape == (2, 5) and sample['agents'].valid.all()
    assert sample['gt_future_valid'].shape == (2, 6) and sample['gt_future_valid'].all()
    np.testing.assert_allclose(sample['agents'].time_offsets, [-2, -1.5, -1, -0.5, 0])
    np.testing.assert_allclose(sample['future_offsets'], [0.5, 1, 1.5, 2, 2.5, 3])
    # The synthetic agents are where the number of their frame says, in the recorded order.
    ahead = sample['agents'].ego_from_agent[0, :, 0, 3]
    recorded = [(np.array(numbers)[i] - now) for i in range(len(numbers))]
    rate = 20 if dataset in ('opv2v', 'v2xset') else 10
    expected = [recorded.index(round(s * rate)) for s in sample['agents'].time_offsets]
    np.testing.assert_allclose(ahead, np.array(expected) - list(numbers).index(now))
    assert found.metainfo['step'] == 0.5


@pytest.mark.parametrize(
    ('dataset', 'numbers', 'step', 'words'),
    [
        ('opv2v', range(60, 180, 2), 0.25, 'every 0.1 s .2 frame numbers of 0.05 s'),
        ('v2xset', range(61, 181, 2), 0.05, 'every 0.1 s'),
        ('v2xpnp', range(0, 60, 5), 0.2, 'every 0.5 s .5 frame numbers of 0.1 s'),
        ('v2v4real', range(60), 0.13, 'every 0.1 s'),
        ('v2xreal', range(0, 9, 2), 0.3, 'every 0.2 s'),
        ('v2xpnp', [7], 0.13, 'frame numbers count 0.1 s'),
    ],
)
def test_a_step_that_no_frames_meet_is_refused(tmp_path, dataset, numbers, step, words):
    path = write(tmp_path, dataset, list(numbers))
    for steps in (dict(num_history=0), dict(num_future=0)):
        with pytest.raises(DataFileError, match=f'{path}: step: {step:g} s asked for.*{words}'):
            open_infos(path, step=step, **steps)
    # Where there is but one time, nothing has to be met.
    sample = open_infos(path, step=step, num_history=0, num_future=0)[0]
    assert sample['agents'].valid.all() and sample['gt_future_valid'].shape == (2, 0)


def test_single_frames_and_drop_outs_are_no_mistakes(tmp_path):
    alone = open_infos(write(tmp_path, 'opv2v', [70]))[0]
    assert alone['agents'].valid.tolist() == [[False] * 4 + [True]] * 2
    assert not alone['gt_future_valid'].any()
    short = open_infos(write(tmp_path, 'v2xreal', list(range(5))))
    assert all(not sample['agents'].valid[:, :-1].any() for sample in short)
    gappy = open_infos(write(tmp_path, 'v2xpnp', GAPS), num_history=1)
    found = {sample['frame']: sample['agents'].valid[0, 0] for sample in gappy}
    assert found == {frame: frame - 5 in GAPS for frame in GAPS}


def test_steps_do_not_leap_from_one_agent_or_scenario_to_the_next(tmp_path):
    """Two agents, or scenarios, that are a step apart are not one that is."""
    infos = synthetic_infos(4, agents=2, frames=2, objects=1)
    path = tmp_path / 'infos.npz'
    for changes in (
        dict(frame=np.array([0, 1, 5, 6], dtype=np.int32)),
        dict(frame=np.array([4, 5, 0, 1], dtype=np.int32)),
        dict(
            frame=np.array([0, 1, 5, 6], dtype=np.int32),
            agent=np.ones(4, dtype=np.int32),
            scenario=np.array([0, 0, 1, 1], dtype=np.int32),
            scenarios=np.array(['a', 'b']),
        ),
    ):
        save_infos(str(path), replace(infos, **changes))
        found = open_infos(path, ego='every')
        assert all(not sample['agents'].valid[:, :-1].any() for sample in found)
        assert any(sample['gt_future_valid'].any() for sample in open_infos(path, step=0.1))


def test_a_future_that_no_frames_meet_is_refused(tmp_path):
    """As LoadFuturePoints asks for it; a delay takes the newest cloud that is old enough."""
    observe = open_infos(write(tmp_path, 'opv2v', list(range(60, 180, 2))))[30]['observe']
    for offset in (0.25, 0.33):
        with pytest.raises(DataFileError, match=f'offset: {offset} s asked for.*every 0.1 s'):
            observe(np.full(2, -offset))
    agents, paths = observe(np.full(2, -0.3))
    assert agents.valid.all() and all(paths)
    late, _ = observe(np.array([0.0, 0.25]))
    assert late.valid.all()
    np.testing.assert_allclose(late.delays, [0, 0.3])


@pytest.mark.parametrize('step', [0, -0.5, 1e6, np.inf, np.nan])
def test_steps_that_are_no_times_are_refused(tmp_path, step):
    with pytest.raises(ValueError, match=f'step: expected seconds above 0 .*, got {step}'):
        open_infos(tmp_path / 'infos.npz', step=step)
