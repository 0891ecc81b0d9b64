import numpy as np
import pytest
import torch
from torchjd.aggregation import PCGrad as TorchJDPCGrad

from projects.TurboTrain.turbotrain.balancing import PCGrad, PeriodicSchedule, PlainSum


def matrices(tasks: int, count: int = 40) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(tasks, 9, generator=generator, dtype=torch.float64) * 10 ** (i % 5 - 2)
        for i in range(count)
    ]


def aggregate(aggregator, matrix: torch.Tensor) -> torch.Tensor:
    return aggregator(matrix @ matrix.T) @ matrix


def surgery(g: np.ndarray) -> np.ndarray:
    """PCGrad by the book, on the vectors themselves."""
    projected = g.copy()
    for i in range(len(g)):
        for j in range(len(g)):
            inner = projected[i] @ g[j]
            if i != j and inner < 0:
                projected[i] -= inner / (g[j] @ g[j]) * g[j]
    return projected.sum(axis=0)


def test_plain_sum():
    for matrix in matrices(3):
        torch.testing.assert_close(aggregate(PlainSum(), matrix), matrix.sum(0))


@pytest.mark.parametrize('tasks', [2, 3, 5])
def test_pcgrad_equals_the_surgery_on_vectors(tasks):
    for matrix in matrices(tasks):
        np.testing.assert_allclose(
            aggregate(PCGrad(), matrix), surgery(matrix.numpy()), rtol=1e-9, atol=1e-12
        )


def test_pcgrad_equals_torchjds_on_two_tasks():
    for matrix in matrices(2):
        torch.testing.assert_close(aggregate(PCGrad(), matrix), TorchJDPCGrad()(matrix))


def test_two_tasks_never_conflict_with_the_result():
    conflicts = 0
    for matrix in matrices(2):
        conflicts += bool(matrix[0] @ matrix[1] < 0)
        products = matrix @ aggregate(PCGrad(), matrix)
        assert (products >= -1e-9 * products.abs().max()).all()
    assert 5 < conflicts < 35  # the sample has both kinds


def test_without_conflict_it_is_the_sum():
    for matrix in matrices(4):
        agreeing = matrix.abs()
        torch.testing.assert_close(aggregate(PCGrad(), agreeing), agreeing.sum(0))


def test_scales_and_permutes_with_two_tasks():
    for matrix in matrices(2):
        result = aggregate(PCGrad(), matrix)
        torch.testing.assert_close(aggregate(PCGrad(), 7.0 * matrix), 7.0 * result)
        torch.testing.assert_close(aggregate(PCGrad(), matrix.flip(0)), result)


def test_a_task_without_gradient_changes_nothing():
    for matrix in matrices(2):
        extended = torch.cat([matrix, torch.zeros(1, 9, dtype=torch.float64)])
        torch.testing.assert_close(aggregate(PCGrad(), extended), aggregate(PCGrad(), matrix))


def test_schedule():
    schedule = PeriodicSchedule(free=2, suppress=1)
    assert [schedule.suppresses(i) for i in range(6)] == [False, False, True] * 2
    assert not any(PeriodicSchedule(free=1, suppress=0).suppresses(i) for i in range(5))
    assert all(PeriodicSchedule(free=0, suppress=3).suppresses(i) for i in range(5))
    with pytest.raises(ValueError, match='not both 0'):
        PeriodicSchedule(free=0, suppress=0)
