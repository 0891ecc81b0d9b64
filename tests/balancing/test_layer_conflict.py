import numpy as np
import pytest
import torch

from tests.balancing.toys import TASKS, TwoTasks, gradients
from turbotrain.balancing import layer_conflict


def test_layers_are_compared_one_by_one():
    model = TwoTasks()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(4))
    losses = model(x)
    detection = losses['loss_box'] + sum(losses['loss_cls_a'])
    first, second = gradients(model, detection), gradients(model, losses['loss_path'].mean())
    names = [name for name, _ in model.named_parameters()]
    before = [p.detach().clone() for p in model.parameters()]

    layers = layer_conflict(model, [dict(x=x)] * 2, TASKS)
    assert list(layers) == ['trunk.0', 'trunk.3']
    for layer, values in layers.items():
        own = [i for i, name in enumerate(names) if name.startswith(layer)]
        a, b = (torch.cat([g[i].flatten() for i in own]) for g in (first, second))
        cosine = torch.nn.functional.cosine_similarity(a, b, dim=0)
        assert values['cosine'] == pytest.approx(float(cosine), abs=1e-5)
        assert values['conflicts'] == float(cosine < 0)
    assert sum(values['share'] for values in layers.values()) == pytest.approx(1)
    for a, b in zip(before, model.parameters(), strict=True):
        assert torch.equal(a, b)
        assert b.grad is None


def test_the_standard_error_is_over_batches():
    model = TwoTasks()
    batches = [dict(x=torch.randn(5, 4)) for _ in range(3)]
    alone = [layer_conflict(model, [batch], TASKS) for batch in batches]
    together = layer_conflict(model, batches, TASKS)
    for layer, values in together.items():
        each = np.array([own[layer]['cosine'] for own in alone])
        assert values['cosine'] == pytest.approx(each.mean())
        assert values['error'] == pytest.approx(each.std(ddof=1) / 3**0.5)
        assert alone[0][layer]['error'] is None
