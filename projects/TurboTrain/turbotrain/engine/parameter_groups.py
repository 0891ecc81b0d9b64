"""Groups of parameters for optimisers that work on whole groups at once."""

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

__all__ = ['FewGroupsConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FewGroupsConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with one group for all parameters that are treated alike.

    With ``paramwise_cfg`` mmengine makes a group of each parameter, and optimisers start their
    kernels for each group: on a GPU a step of Adam is then thousands of them. What each parameter
    gets is the same; checkpoints' optimisers do not fit those of the other constructor.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Add the parameters of a module, each to a group; of the whole model, few groups."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:  # called by itself, for a part
            return
        groups: dict[str, dict] = {}
        for one in params:
            options = {key: value for key, value in one.items() if key != 'params'}
            alike = repr(sorted(options.items()))
            groups.setdefault(alike, dict(params=[], **options))['params'] += one['params']
        params[:] = groups.values()
