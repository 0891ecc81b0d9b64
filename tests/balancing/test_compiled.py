"""What torch.compile makes can be trained with conflicts suppressed."""

import pytest
import torch
import torch._functorch.config as functorch
from torch import nn

from turbotrain.balancing import ConflictSuppressingOptimWrapper
from turbotrain.errors import SettingError

from .toys import TASKS, TwoTasks

SUPPRESSING = dict(type='PeriodicSchedule', free=1, suppress=1)
BATCHES = torch.rand(4, 4, 8, generator=torch.Generator().manual_seed(1))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU()]
        self.trunk, self.a, self.b = nn.Sequential(*layers), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> dict:
        shared = self.trunk(x)
        return dict(loss_a=self.a(shared).pow(2).mean(), loss_b=self.b(shared).abs().mean())


def trained(backend: str | None, **kwargs: object) -> torch.Tensor:
    """Parameters after free and suppressing steps; ``backend`` compiles the trunk."""
    model = Branching()
    wrapper = ConflictSuppressingOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        tasks=dict(a='loss_a', b='loss_b'),
        schedule=SUPPRESSING,
        **kwargs,
    )
    if backend:
        model.trunk = torch.compile(model.trunk, backend=backend)
    for batch in BATCHES:
        with wrapper.optim_context(model):
            losses = model(batch)
        wrapper.update_params(sum(losses.values()))
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ('level', 'words'),
    [
        ({}, 'one graph of parts that different tasks use'),
        (dict(level='features', features='trunk'), 'not compiled together with others'),
    ],
)
def test_heads_in_the_graph_of_the_trunk_are_refused(level, words, as_in_a_new_process):
    """mmengine's ``compile`` makes one graph of a model: who uses which parameter is not seen."""
    model = TwoTasks()
    wrapper = ConflictSuppressingOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        tasks=TASKS,
        schedule=SUPPRESSING,
        **level,
    )
    step = torch.compile(model.train_step, backend='aot_eager')
    step(dict(x=BATCHES[0, :, :4]), wrapper)  # a free one
    with pytest.raises((SettingError, RuntimeError), match=words):
        step(dict(x=BATCHES[1, :, :4]), wrapper)


@pytest.fixture
def as_in_a_new_process(monkeypatch):
    """Other tests have built wrappers, which change torch's settings."""
    try:
        torch.compile(nn.Identity())
    except RuntimeError as error:  # torch before 2.4 on Python 3.12, before 2.6 on 3.13
        pytest.skip(str(error))
    if hasattr(torch.compiler, 'config'):
        monkeypatch.setattr(torch.compiler.config, 'cache_key_tag', '')
    if hasattr(functorch, 'donated_buffer'):
        monkeypatch.setattr(functorch, 'donated_buffer', True)
    torch._dynamo.reset()


@pytest.mark.parametrize('level', [{}, dict(level='features', features='trunk')])
def test_compiled_parts_learn_as_others_do(level, as_in_a_new_process):
    torch.testing.assert_close(trained('aot_eager', **level), trained(None, **level))


def test_kernels_on_disk_that_overwrite_their_inputs_are_not_used(
    as_in_a_new_process, monkeypatch, tmp_path
):
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    model = Branching()
    trunk = torch.compile(model.trunk)
    trunk(BATCHES[0]).sum().backward()
    torch._dynamo.reset()
    torch.testing.assert_close(trained('inductor'), trained(None))
