"""Models and weights without what is wrapped around them."""

from collections import OrderedDict
from collections.abc import Mapping

from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

__all__ = ['all_models', 'bare', 'with_versions']


def bare(model: nn.Module) -> nn.Module:
    """A model without what makes it one of several processes."""
    return model.module if is_model_wrapper(model) else model


def all_models(runner: Runner) -> list[nn.Module]:
    """A runner's model and the averages of it that ``EMAHook`` keeps, each without wrappers."""
    averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
    return [bare(runner.model), *averages]


def with_versions(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> OrderedDict:
    """Some weights as a state dict, with the versions of the modules that another one holds.

    A plain dictionary has none, and sparse convolutions take their weights for older ones then,
    which they permute.

    Args:
        weights: by name.
        state: what they are taken from.
    """
    result = OrderedDict(weights)
    if hasattr(state, '_metadata'):
        result._metadata = state._metadata  # type: ignore[attr-defined]
    return result
