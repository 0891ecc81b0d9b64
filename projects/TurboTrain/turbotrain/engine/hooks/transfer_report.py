"""What of stage 1 arrived in stage 2."""

from collections import defaultdict

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['TransferReportHook']


@HOOKS.register_module()
class TransferReportHook(Hook):
    """Report which modules ``load_from`` filled, and stop when the trunk was not wholly filled.

    mmengine loads what matches and only warns of the rest, so that a trunk whose sizes or names
    differ from stage 1's trains on from random weights unnoticed.

    Args:
        trunk: modules that must be filled whole.
    """

    priority = 'HIGH'

    def __init__(self, trunk: tuple[str, ...]) -> None:
        self.trunk = tuple(trunk)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare before mmengine copies the weights.

        Raises:
            ValueError: a tensor of the trunk is missing in the checkpoint or has another shape.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        own, given = model.state_dict(), checkpoint['state_dict']
        taken, fresh = defaultdict(int), defaultdict(list)
        for key, tensor in own.items():
            module = key.split('.')[0]
            if key in given and given[key].shape == tensor.shape:
                taken[module] += tensor.numel()
            else:
                found = f'has shape {tuple(given[key].shape)}' if key in given else 'is missing'
                fresh[module].append(f'{key} {found}, expected {tuple(tensor.shape)}')
        modules = {key.split('.')[0] for key in own}
        dropped = sorted({key.split('.')[0] for key in given} - modules)
        runner.logger.info(
            'weights taken: '
            + (', '.join(f'{m} ({n:,} values)' for m, n in taken.items()) or 'none')
            + f'; fresh: {", ".join(fresh) or "none"}; dropped: {", ".join(dropped) or "none"}'
        )
        for module in self.trunk:
            if module not in modules:
                raise ValueError(f'trunk names {module!r}; the model has {sorted(modules)}')
            if fresh[module]:
                raise ValueError(
                    f'{len(fresh[module])} tensors of {module!r} do not match the checkpoint '
                    f'{runner._load_from!r}; the first: {fresh[module][0]}'
                )
