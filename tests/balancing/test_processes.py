"""Two real processes: what they end with against stock DistributedDataParallel, and each other."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.balancing.toys import ALWAYS, FEATURES, THREE, ThreeTasks, TwoTasks, wrapper
from tests.balancing.two_processes import BALANCERS, fully_shard
from turbotrain.balancing import AGGREGATORS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def results(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp('processes')
    processes = [
        subprocess.Popen(
            [sys.executable, '-m', 'tests.balancing.two_processes', str(rank),
             str(folder / 'store'), str(folder)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-4000:]
    return [torch.load(folder / f'{rank}.pth', weights_only=True) for rank in range(2)]


CASES = ['plain', 'accumulated', 'clipped', 'one misses', 'nobody has', 'late']


@pytest.mark.parametrize('way', ['parameters', 'features', 'free'])
@pytest.mark.parametrize('case', CASES)
def test_the_plain_sum_equals_stock_ddp(results, case, way):
    start = torch.cat([p.detach().flatten() for p in TwoTasks().parameters()])
    expected = results[0][f'{case}/stock']
    if case != 'late':
        assert (expected - start).abs().max() > 1e-3, 'nothing was learned'
    for result in results:
        torch.testing.assert_close(result[f'{case}/{way}'], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('way', ['parameters', 'features'])
def test_gradients_that_one_process_has_left_are_averaged_with_the_others(results, way):
    without = results[0]['penalty/free'] - results[0]['plain/free']
    assert without.abs().max() > 1e-3
    torch.testing.assert_close(
        results[0][f'penalty/{way}'], results[0]['penalty/free'], rtol=1e-6, atol=1e-6
    )


def test_parameters_that_would_not_be_averaged_are_refused_in_free_steps(results):
    for result in results:
        assert 'does not hold unused and others' in result['strangers']


def test_what_goes_around_the_cut_equals_stock_ddp(results):
    for result in results:
        expected = results[0]['plain/stock']
        torch.testing.assert_close(result['around'], expected, rtol=1e-6, atol=1e-6)


def test_a_task_is_missed_on_all_processes_at_once(results):
    for result in results:
        step, message = result['missed']
        assert step == 3
        assert "task 'lanes' (loss_lane) after 4 forward passes" in message
        assert "'mapping'" not in message


def test_replicas_are_bit_equal(results):
    names = [name for name in results[0] if isinstance(results[0][name], torch.Tensor)]
    assert sum(name.startswith('equal/') for name in names) == (
        2 * len(AGGREGATORS.module_dict) + len(BALANCERS) + 1
    )
    for name in names:
        assert results[0][name].isfinite().all(), name
        if not name.endswith('/stock'):
            assert torch.equal(results[0][name], results[1][name]), name


def test_aggregators_do_not_all_do_the_same(results):
    ends = {n: v for n, v in results[0].items() if n.startswith('equal/') and '/features' in n}
    different = {tuple(value[:8].tolist()) for value in ends.values()}
    assert len(different) >= len(ends) - 2  # fixed and random order may meet


@pytest.mark.parametrize('way', ['parameters', 'features'])
def test_synchronised_batch_norm(results, way):
    torch.testing.assert_close(
        results[0][f'norm/{way}'], results[0]['norm/stock'], rtol=1e-5, atol=1e-6
    )


def test_a_task_on_some_processes_only_does_not_hang_in_synchronised_norm(results):
    for result in results:
        assert len(result['norm errors']) == 2
        for error in result['norm errors']:
            assert "'prediction' has a loss on some processes only" in error


def test_one_message_per_suppressing_update(results):
    assert len(results[0]['messages']) == 3
    shared = sum(p.numel() for p in TwoTasks().trunk.parameters())
    assert results[0]['messages'][0] < 2 * shared + 200


def test_free_steps_may_be_left_to_ddp(results):
    assert torch.equal(results[0]['overlap/ours'], results[0]['plain/stock'])


def test_free_steps_left_to_ddp_mix_with_suppressing_ones(results):
    torch.testing.assert_close(
        results[0]['mixed/overlapping'], results[0]['mixed/by hand'], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize('way', ['parameters', 'features'])
def test_two_processes_do_what_one_does_with_all_the_data(results, way):
    level = FEATURES if way == 'features' else {}
    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE, schedule=ALWAYS, **level)
    generators = [torch.Generator().manual_seed(10 + rank) for rank in range(2)]
    for _ in range(8):
        x = torch.cat([torch.randn(5, 4, generator=generator) for generator in generators])
        model.train_step(dict(x=x), optim_wrapper)
    assert optim_wrapper.message_hub.get_scalar('train/task_conflict').data[0][-8:].any()
    whole = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(results[0][f'whole/{way}'], whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('way', ['free', 'suppressing'])
def test_buffers_are_broadcast_as_in_stock_ddp(results, way):
    first, second = (result['buffers'] for result in results)
    assert not torch.equal(first['stock'], second['stock'])  # each adds its own last batch
    for own in (first, second):
        torch.testing.assert_close(own[way], own['stock'], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('way', ['free', 'parameters', 'features'])
def test_an_overflow_on_one_process_skips_the_step_on_all(results, way):
    if f'overflow/{way}' not in results[0]:
        pytest.skip('torch before 2.3 has no loss scaler for the CPU')
    for result in results:
        assert result[f'overflow/{way}'][-1] == 512  # halved once


@pytest.mark.parametrize('way', ['parameters', 'features'])
def test_a_resumed_run_equals_an_uninterrupted_one(results, way):
    for result in results:
        whole, half, resumed = (
            result[f'resume/{way}/{name}'] for name in ('whole', 'half', 'resumed')
        )
        assert not torch.equal(half, whole)
        assert torch.equal(resumed, whole)


def test_a_really_sharded_model_is_refused(results):
    if fully_shard is None:
        pytest.skip('torch before 2.6')
    for result in results:
        assert 'FSDP' in result['sharded']
