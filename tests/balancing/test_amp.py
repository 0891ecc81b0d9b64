"""Conflict suppression in mixed precision."""

import copy

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from tests.balancing.toys import (
    ALWAYS,
    FEATURES,
    MEASURED,
    NEVER,
    SETTINGS,
    TASKS,
    TwoTasks,
    train,
    wrapper,
)
from turbotrain.balancing import (
    AmpConflictSuppressingOptimWrapper,
    BFloat16ConflictSuppressingOptimWrapper,
    BFloat16OptimWrapper,
)


class FullPrecision(TwoTasks):
    """Under autocast too, so that results compare."""

    def forward(self, *args, **kwargs) -> dict:
        with torch.autocast('cpu', enabled=False):
            return super().forward(*args, **kwargs)


@pytest.fixture
def amp(monkeypatch):
    """Mixed precision as it is but for the accelerator: torch's loss scaler on CPU tensors."""
    if not hasattr(torch.amp, 'GradScaler'):
        pytest.skip('torch before 2.3 has no loss scaler for the CPU')
    monkeypatch.setattr(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True
    )

    def build(model, kind=AmpConflictSuppressingOptimWrapper, scale=1024.0, **kwargs):
        optim_wrapper = wrapper(model, kind, **copy.deepcopy(kwargs))
        optim_wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=scale)
        return optim_wrapper

    return build


@pytest.mark.parametrize('kwargs', SETTINGS)
def test_the_sum_of_scaled_task_gradients_is_stock_amps(amp, kwargs):
    stock = FullPrecision()
    expected = train(stock, amp(stock, AmpOptimWrapper, **kwargs))
    assert not torch.equal(expected[-1], [*FullPrecision().parameters()][-1])
    for settings in (dict(schedule=NEVER), MEASURED, MEASURED | FEATURES):
        ours = FullPrecision()
        after = train(ours, amp(ours, tasks=TASKS, **settings, **kwargs))
        for a, b in zip(after, expected, strict=True):
            if settings['schedule'] is NEVER:
                assert torch.equal(a, b)
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('settings', [{}, MEASURED, MEASURED | FEATURES])
@pytest.mark.parametrize('kwargs', SETTINGS)
def test_bfloat16_without_a_scaler_is_what_a_scale_of_one_is(amp, settings, kwargs):
    scaled, plain, full = TwoTasks(), TwoTasks(), TwoTasks()
    if settings:
        settings = dict(settings, tasks=TASKS)
    kinds = (
        (AmpConflictSuppressingOptimWrapper, BFloat16ConflictSuppressingOptimWrapper)
        if settings
        else (AmpOptimWrapper, BFloat16OptimWrapper)
    )
    expected = train(scaled, amp(scaled, kinds[0], scale=1.0, **settings, **kwargs))
    after = train(plain, wrapper(plain, kinds[1], **copy.deepcopy(settings | kwargs)))
    for a, b in zip(after, expected, strict=True):
        assert torch.equal(a, b)
    in_full = train(full, wrapper(full, OptimWrapper, **copy.deepcopy(kwargs)))
    assert not torch.equal(after[-1], in_full[-1])
    torch.testing.assert_close(after[-1], in_full[-1], rtol=0.02, atol=1e-3)


@pytest.mark.parametrize('level', [{}, FEATURES])
def test_scaling_the_losses_changes_nothing(amp, level):
    def with_scale(scale: float) -> tuple[list[torch.Tensor], float]:
        model = TwoTasks()  # in bfloat16
        optim_wrapper = amp(model, scale=scale, tasks=TASKS, schedule=ALWAYS, **level)
        after = train(model, optim_wrapper)
        norms = optim_wrapper.message_hub.get_scalar('train/task_norm/detection')
        return after, norms.current()

    (scaled, norm), (unscaled, same_norm) = with_scale(1024.0), with_scale(1.0)
    assert norm == same_norm
    for a, b in zip(scaled, unscaled, strict=True):
        assert torch.equal(a, b)  # powers of two lose no bits


@pytest.mark.parametrize('level', [{}, FEATURES])
@pytest.mark.parametrize('name', ['PCGrad', 'MGDA', 'GradVac', 'GradDrop', 'ConFIG', 'UPGrad'])
def test_a_step_in_which_one_task_overflows_is_skipped(amp, name, level):
    model = TwoTasks()
    forward, overflows = model.forward, True
    model.forward = lambda **kw: {
        k: v * torch.inf if overflows and k == 'loss_path' else v for k, v in forward(**kw).items()
    }
    optim_wrapper = amp(
        model, tasks=TASKS, schedule=ALWAYS, aggregator=dict(type=name),
        clip_grad=dict(max_norm=1.0), **level,
    )  # fmt: skip
    before = [p.detach().clone() for p in model.parameters()]
    hub = optim_wrapper.message_hub
    for a, b in zip(before, train(model, optim_wrapper, 1), strict=True):
        assert torch.equal(a, b)
    assert optim_wrapper.loss_scaler.get_scale() == 512
    assert optim_wrapper.faulty_tasks == ['prediction']
    assert optim_wrapper.aggregator.state_dict().get('calls', 0) == 0
    assert hub.get_scalar('train/suppressing').current() == 0
    overflows = False
    after = train(model, optim_wrapper, 1)
    assert not torch.equal(before[-1], after[-1])
    assert all(p.isfinite().all() for p in after)
    assert hub.get_scalar('train/suppressing').current() == 1
