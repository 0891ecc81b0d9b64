"""One group of parameters for all that are treated alike, and each treated as mmengine does."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn

import turbotrain.engine  # noqa: F401 - registers the constructor

SCHEDULES = Path(__file__).resolve().parents[2] / 'configs/_base_/schedules'
MMENGINE = 'DefaultOptimWrapperConstructor'
PARAMWISE = dict(
    custom_keys={'velocity_head': dict(lr_mult=2.0), '2.bias': dict(decay_mult=0.0)},
    norm_decay_mult=0.5,
)


def model() -> nn.Module:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.Linear(8, 8))
    return nn.ModuleDict(dict(trunk=trunk, velocity_head=nn.Linear(8, 2)))


def wrapper_of(net: nn.Module, constructor: str, paramwise: dict = PARAMWISE) -> OptimWrapper:
    optimizer = dict(type='Adam', lr=0.01, weight_decay=0.1)
    cfg = dict(constructor=constructor, optimizer=optimizer, paramwise_cfg=paramwise)
    return build_optim_wrapper(net, cfg)


def treatment(net: nn.Module, wrapper: OptimWrapper) -> dict[str, tuple[float, float]]:
    """Learning rate and decay by the parameter's name."""
    names = {parameter: name for name, parameter in net.named_parameters()}
    groups = wrapper.optimizer.param_groups
    assert sum(len(group['params']) for group in groups) == len(names)
    return {names[p]: (g['lr'], g['weight_decay']) for g in groups for p in g['params']}


def test_each_parameter_is_treated_as_by_mmengine() -> None:
    net = model()
    few = wrapper_of(net, 'FewGroupsConstructor')
    each = wrapper_of(net, MMENGINE)
    assert treatment(net, few) == treatment(net, each)
    assert len(each.optimizer.param_groups) == len(list(net.parameters()))
    assert len(few.optimizer.param_groups) == 4  # plain, norms, the head, one bias


def test_trains_as_mmengine_does() -> None:
    def trained(constructor: str) -> dict[str, Tensor]:
        net = model()
        wrapper = wrapper_of(net, constructor)
        for seed in range(5):
            x = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))
            wrapper.update_params(net['velocity_head'](net['trunk'](x)).square().mean())
        return copy.deepcopy(net.state_dict())

    few, each = trained('FewGroupsConstructor'), trained(MMENGINE)
    assert all(torch.equal(few[name], each[name]) for name in each)
    assert not torch.equal(few['trunk.0.weight'], model()['trunk'][0].weight)


def test_frozen_parameters_get_no_group() -> None:
    net = model()
    net['trunk'][0].requires_grad_(False)
    groups = wrapper_of(net, 'FewGroupsConstructor').optimizer.param_groups
    names = {p: name for name, p in net.named_parameters()}
    assert 'trunk.0.weight' not in {names[p] for group in groups for p in group['params']}


@pytest.mark.parametrize('schedule', ['finetune_30e.py', 'finetune_mini.py', 'benchmark_30e.py'])
def test_schedules_make_three_groups_of_the_detector(schedule: str) -> None:
    net = nn.ModuleDict(
        {part: nn.Linear(2, 2) for part in ('backbone', 'velocity_head', 'trajectory_head')}
    )
    cfg = Config.fromfile(SCHEDULES / schedule).optim_wrapper
    assert len(build_optim_wrapper(net, cfg).optimizer.param_groups) == 3
