import sys

import numpy as np
import pytest
import torch
import torchjd.aggregation as torchjd

from turbotrain.balancing import AGGREGATORS, PCGrad, PlainSum
from turbotrain.balancing.gram import combine_rows, cosines, gram_matrix

NAMES = sorted(AGGREGATORS.module_dict)
RANDOM = {'RandomOrderPCGrad', 'GradVac', 'GradDrop'}
UNCONFLICTING = {'UPGrad', 'DualProj', 'ConFIG', 'MGDA', 'NashMTL'}
AVERAGING = ('CAGrad', 'MGDA', 'IMTLG', 'AlignedMTL', 'UPGrad', 'DualProj')


def matrices(tasks: int, count: int = 40, columns: int = 9) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(tasks, columns, generator=generator, dtype=torch.float64) * 10 ** (i % 5 - 2)
        for i in range(count)
    ]


def aggregate(aggregator, matrix: torch.Tensor) -> torch.Tensor:
    weights = aggregator(gram_matrix([matrix]))
    return combine_rows(matrix.clone(), aggregator, weights, range(len(matrix)))


def build(name: str, **kwargs):
    return AGGREGATORS.build(dict(type=name, **kwargs))


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
        torch.testing.assert_close(aggregate(PCGrad(), matrix), torchjd.PCGrad()(matrix))


@pytest.mark.parametrize('name', AVERAGING)
def test_weights_from_the_gram_matrix_equal_torchjds_on_the_gradients(name):
    kwargs = dict(c=0.5) if name == 'CAGrad' else {}
    for matrix in matrices(3, 10):
        # TorchJD's absolute thresholds see it as ours do: at a mean squared norm of 1.
        matrix = matrix / matrix.square().sum(1).mean().sqrt()
        expected = getattr(torchjd, name)(**kwargs)(matrix)
        torch.testing.assert_close(
            aggregate(build(name, reduction='mean'), matrix), expected, rtol=1e-5, atol=1e-7
        )
        torch.testing.assert_close(
            aggregate(build(name), matrix), 3 * expected, rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize('name', ['RandomOrderPCGrad', 'ConFIG', 'GradVac', 'GradDrop'])
def test_what_sums_has_no_mean(name):
    build(name, reduction='sum')
    with pytest.raises(ValueError, match=f'{name} sums'):
        build(name, reduction='mean')


def test_config_equals_torchjds_on_the_gradients():
    for matrix in matrices(4):
        torch.testing.assert_close(aggregate(build('ConFIG'), matrix), torchjd.ConFIG()(matrix))


def test_random_order_is_torchjds_with_the_same_seed():
    for matrix in matrices(4, 10):
        state = torch.random.get_rng_state()
        ours = aggregate(build('RandomOrderPCGrad', seed=3), matrix)
        assert torch.equal(torch.random.get_rng_state(), state), 'the global state was touched'
        torch.manual_seed(3)
        torch.testing.assert_close(ours, torchjd.PCGrad()(matrix))


def test_gradvac_equals_torchjds_over_a_sequence():
    ours, theirs = build('GradVac', seed=0), torchjd.GradVac()
    for i, matrix in enumerate(matrices(2, 20)):
        matrix = matrix / matrix.square().sum(1).mean().sqrt()
        torch.manual_seed(i)
        torch.testing.assert_close(aggregate(ours, matrix), theirs(matrix), rtol=1e-6, atol=1e-8)


def test_gradvac_remembers_tasks_that_are_missing_for_a_while():
    gram = gram_matrix([matrices(3)[0]])
    with_gap, without = build('GradVac'), build('GradVac')
    for aggregator in (with_gap, without):
        aggregator(gram, [0, 1, 2])
    with_gap(gram[:2, :2], [0, 1])
    kept = [(0, 2), (1, 2), (2, 0), (2, 1)]
    for i, j in kept:
        assert with_gap.state_dict()['means'][i, j] == without.state_dict()['means'][i, j] != 0


def test_graddrop_keeps_one_sign_of_each_value():
    for matrix in matrices(3, 10, columns=600):
        result = aggregate(build('GradDrop'), matrix)
        positive, negative = matrix.clamp(min=0).sum(0), matrix.clamp(max=0).sum(0)
        assert (torch.isclose(result, positive) | torch.isclose(result, negative)).all()
        assert 0.2 < torch.isclose(result, positive).double().mean() < 0.8
    zero = torch.zeros(3, 4)
    assert torch.equal(aggregate(build('GradDrop'), zero), torch.zeros(4))


@pytest.mark.parametrize('name', sorted(UNCONFLICTING))
@pytest.mark.parametrize('tasks', [2, 4])
def test_no_task_conflicts_with_the_result(name, tasks):
    conflicts = 0
    for matrix in matrices(tasks, 12):
        conflicts += bool((gram_matrix([matrix]) < 0).any())
        result = aggregate(build(name), matrix)
        products = matrix @ result
        # TorchJD regularises its quadratic programs by 1e-4 of the squared norm.
        assert (products >= -2e-3 * matrix.norm(dim=1) * matrix.norm()).all()
        assert result.norm() > 0
    assert conflicts > 5


def test_two_tasks_never_conflict_with_pcgrads_result():
    conflicts = 0
    for matrix in matrices(2):
        conflicts += bool(matrix[0] @ matrix[1] < 0)
        products = matrix @ aggregate(PCGrad(), matrix)
        assert (products >= -1e-9 * products.abs().max()).all()
    assert 5 < conflicts < 35  # the sample has both kinds


@pytest.mark.parametrize('name', ['PlainSum', 'PCGrad', 'RandomOrderPCGrad', 'UPGrad', 'DualProj'])
def test_without_conflict_it_is_the_sum(name):
    for matrix in matrices(4, 10):
        agreeing = matrix.abs()
        torch.testing.assert_close(
            aggregate(build(name), agreeing), agreeing.sum(0), rtol=1e-3, atol=0
        )


@pytest.mark.parametrize('name', sorted(set(NAMES) - {'NashMTL'}))
def test_it_scales_with_the_gradients(name):
    for matrix in matrices(3, 10):
        result = aggregate(build(name), matrix)
        for factor in (2.0**-20, 2.0**16):
            torch.testing.assert_close(
                aggregate(build(name), factor * matrix), factor * result, rtol=1e-5, atol=0
            )


@pytest.mark.parametrize('name', sorted(set(NAMES) - RANDOM - {'PCGrad', 'NashMTL'}))
def test_the_order_of_tasks_does_not_matter(name):
    for matrix in matrices(4, 10):
        torch.testing.assert_close(
            aggregate(build(name), matrix.flip(0)),
            aggregate(build(name), matrix),
            rtol=1e-4,
            atol=1e-6 * float(matrix.norm()),
        )


def test_the_order_of_two_tasks_does_not_matter_to_pcgrad():
    for matrix in matrices(2):
        torch.testing.assert_close(aggregate(PCGrad(), matrix.flip(0)), aggregate(PCGrad(), matrix))


def mgda_by_the_book(g: np.ndarray) -> np.ndarray:
    a, b = g
    gamma = np.clip((b @ b - a @ b) / (a @ a + b @ b - 2 * a @ b), 0, 1)
    return gamma * a + (1 - gamma) * b


def aligned_by_the_book(g: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(g @ g.T)
    balance = np.sqrt(values.min()) * vectors @ np.diag(values**-0.5) @ vectors.T
    return balance.sum(axis=0) / len(g) @ g


def config_by_the_book(g: np.ndarray) -> np.ndarray:
    unit = np.linalg.pinv(g / np.linalg.norm(g, axis=1, keepdims=True)) @ np.ones(len(g))
    unit /= np.linalg.norm(unit)
    return (g @ unit).sum() * unit


def gradvac_by_the_book(g: np.ndarray) -> np.ndarray:
    result = g.copy()  # the first step: the running mean of the cosine is 0
    for i, j in ((0, 1), (1, 0)):
        norms = np.linalg.norm(g[i]), np.linalg.norm(g[j])
        cosine = g[i] @ g[j] / norms[0] / norms[1]
        if cosine < 0:
            result[i] += norms[0] * -cosine / norms[1] * g[j]
    return result.sum(axis=0)


def cagrad_by_the_book(g: np.ndarray, c: float = 0.5) -> np.ndarray:
    mean = g.mean(axis=0)
    radius = c * np.linalg.norm(mean)
    w = np.linspace(0, 1, 100_001)[:, None]
    mixtures = w * g[0] + (1 - w) * g[1]
    best = mixtures[np.argmin(mixtures @ mean + radius * np.linalg.norm(mixtures, axis=1))]
    return mean + radius / np.linalg.norm(best) * best


@pytest.mark.parametrize(
    ('name', 'by_the_book', 'kwargs'),
    [
        ('CAGrad', cagrad_by_the_book, dict(reduction='mean')),
        ('MGDA', mgda_by_the_book, dict(reduction='mean')),
        ('AlignedMTL', aligned_by_the_book, dict(reduction='mean')),
        ('ConFIG', config_by_the_book, {}),
        ('GradVac', gradvac_by_the_book, {}),
    ],
)
def test_two_tasks_give_what_the_papers_formula_gives(name, by_the_book, kwargs):
    for matrix in matrices(2, 20):
        np.testing.assert_allclose(
            aggregate(build(name, **kwargs), matrix),
            by_the_book(matrix.numpy()),
            rtol=0,
            atol=1e-4 * float(matrix.norm()),
        )


@pytest.mark.parametrize('tasks', [2, 4])
def test_imtlg_is_impartial(tasks):
    for matrix in matrices(tasks, 10):
        result = aggregate(build('IMTLG'), matrix)
        projections = matrix @ result / matrix.norm(dim=1)
        torch.testing.assert_close(projections, projections.mean().expand(tasks), rtol=1e-5, atol=0)


def test_nash_solves_its_equation():
    for matrix in matrices(2, 5):
        gram = gram_matrix([matrix])
        weights = build('NashMTL')(gram)
        products = weights * (gram @ weights)
        torch.testing.assert_close(
            products / products.mean(), torch.ones(2).double(), rtol=0.05, atol=0
        )


@pytest.mark.parametrize('name', sorted(RANDOM | {'NashMTL'}))
def test_a_restored_aggregator_goes_on_bit_for_bit(name):
    sequence = matrices(5, 6)
    whole, first, second = build(name), build(name), build(name)
    expected = [aggregate(whole, matrix) for matrix in sequence]
    for matrix in sequence[:3]:
        aggregate(first, matrix)
    second.load_state_dict(first.state_dict())
    for matrix, result in zip(sequence[3:], expected[3:], strict=True):
        assert torch.equal(aggregate(second, matrix), result)
    if name != 'NashMTL':
        # Without its state it would not: the test can fail.
        fresh = build(name)
        results = [aggregate(fresh, matrix) for matrix in sequence[3:]]
        assert any(not torch.equal(a, b) for a, b in zip(results, expected[3:], strict=True))


@pytest.mark.parametrize(
    ('name', 'missing', 'extra'),
    [
        ('UPGrad', 'qpsolvers', 'torchjd[quadprog_projector]'),
        ('DualProj', 'quadprog', 'torchjd[quadprog_projector]'),
        ('CAGrad', 'cvxpy', 'torchjd[cagrad]'),
        ('NashMTL', 'ecos', 'torchjd[nash_mtl]'),
        ('MGDA', 'torchjd', 'torchjd'),
    ],
)
def test_what_is_not_installed_is_named(monkeypatch, name, missing, extra):
    if missing == 'torchjd':
        monkeypatch.setitem(sys.modules, 'torchjd', None)
    else:
        import importlib.util

        find = importlib.util.find_spec
        monkeypatch.setattr(
            'torchjd._mixins.find_spec', lambda n, *a: None if n == missing else find(n, *a)
        )
    with pytest.raises(ImportError) as error:
        build(name)
    assert f"pip install '{extra}'" in str(error.value)
    assert name in str(error.value)


def test_cosines():
    matrix = matrices(3)[0]
    matrix[2] = 0
    cosine = cosines(gram_matrix([matrix]))
    expected = torch.nn.functional.cosine_similarity(matrix[0], matrix[1], dim=0)
    torch.testing.assert_close(cosine[0, 1], expected)
    assert cosine[0, 2] == 0
    assert (cosine.diagonal() == 1).all()
