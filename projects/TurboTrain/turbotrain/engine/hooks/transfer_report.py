"""What of stage 1 arrived in stage 2."""

from collections import defaultdict

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import UserError

__all__ = ['TransferReportHook']


@HOOKS.register_module()
class TransferReportHook(Hook):
    """Report which modules ``load_from`` filled, and stop when one that should be was not.

    mmengine loads what matches and only warns of the rest, so that a trunk whose sizes or names
    differ from stage 1's would train on from random weights unnoticed, or without a part that stage
    1 has trained.

    Args:
        fresh: modules that may start from fresh weights.
        dropped: modules of the checkpoint that may be left behind.
    """

    priority = 'HIGH'

    def __init__(
        self,
        fresh: tuple[str, ...] = ('bbox_head', 'trajectory_head'),
        dropped: tuple[str, ...] = ('reconstruction_head', 'mask_token'),
    ) -> None:
        self.fresh, self.dropped = tuple(fresh), tuple(dropped)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare before mmengine copies the weights.

        Raises:
            UserError: a tensor of another module is missing in the checkpoint, has another shape
                there, or is there alone.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        own, given = model.state_dict(), checkpoint['state_dict']
        taken, unmatched = defaultdict(int), defaultdict(list)
        for key, tensor in own.items():
            module = key.split('.')[0]
            if key in given and given[key].shape == tensor.shape:
                taken[module] += tensor.numel()
            else:
                found = f'has shape {tuple(given[key].shape)}' if key in given else 'is missing'
                unmatched[module].append(f'{key} {found}, expected {tuple(tensor.shape)}')
        left = defaultdict(list)
        for key in given.keys() - own.keys():
            left[key.split('.')[0]].append(key)
        values = [f'{module} ({count:,} values)' for module, count in taken.items()]
        report = dict(taken=values, fresh=unmatched, dropped=sorted(left))
        listed = '; '.join(
            f'{what}: {", ".join(names) or "none"}' for what, names in report.items()
        )
        runner.logger.info(f'weights {listed}')
        for module, problems in unmatched.items():
            if module not in self.fresh:
                raise UserError(
                    f'{len(problems)} tensors of {module!r} do not match the checkpoint; the '
                    f'first: {problems[0]}. Only {self.fresh} may start fresh.'
                )
        for module, keys in left.items():
            if module not in self.fresh + self.dropped:
                raise UserError(
                    f'{len(keys)} tensors of {module!r} in the checkpoint have no place in the '
                    f'model; the first: {min(keys)}. Only {self.dropped} may be left behind.'
                )
