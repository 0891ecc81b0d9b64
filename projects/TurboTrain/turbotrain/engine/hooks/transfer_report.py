"""What of stage 1 arrived in stage 2."""

from collections import defaultdict
from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn

from ...errors import UserError
from ..bare import bare
from .trained_parts import trained_names

__all__ = ['TransferReportHook']


@HOOKS.register_module()
class TransferReportHook(Hook):
    """Report which modules ``load_from`` filled, and stop when one that should be was not.

    mmengine loads what matches and only warns of the rest, so that a trunk whose sizes or names
    differ from stage 1's would train on from random weights unnoticed, or without a part that stage
    1 has trained.

    Once mmengine has copied them, the weights themselves are compared, too: a layer may take those
    of its own shape for an older layout, and leave them.

    Of weights that match, the report tells those that were trained from those that stage 1 only
    carried along, where the checkpoint says so (:class:`TrainedPartsHook`).

    Args:
        fresh: modules that may start from fresh weights.
        dropped: modules of the checkpoint that may be left behind.
        anew: modules that start from fresh weights though the checkpoint has them. They are loaded
            like all others where training is resumed, where a model is tested, and where the
            checkpoint has one of ``fresh``: it is of a whole model, whose heads know the module.
    """

    priority = 'HIGH'

    def __init__(
        self,
        fresh: tuple[str, ...] = ('bbox_head', 'velocity_head', 'trajectory_head'),
        dropped: tuple[str, ...] = ('reconstruction_head', 'mask_token'),
        anew: tuple[str, ...] = (),
    ) -> None:
        self.fresh, self.dropped = tuple(fresh), tuple(dropped)
        self.anew = tuple(anew)
        self._given: dict[str, Tensor] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare before mmengine copies the weights.

        Raises:
            UserError: a tensor of another module is missing in the checkpoint, has another shape
                there, or is there alone; or there is no module of those that start anew.
        """
        model = bare(runner.model)
        own, given = model.state_dict(), checkpoint.get('state_dict', checkpoint)
        fresh, left_out = self.fresh, set[str]()
        if isinstance(runner._train_loop, BaseLoop) and not runner._resume:
            self._refuse_unknown(model)
            if not _modules(given) & {*self.fresh}:
                left_out = _modules(given) & {*self.anew}
                for key in [key for key in given if key.split('.')[0] in left_out]:
                    del given[key]
                fresh += self.anew
        trained = _with_buffers(trained_names(checkpoint), model)
        taken, carried, unmatched = defaultdict(int), defaultdict(int), defaultdict(list)
        for key, tensor in own.items():
            module = key.split('.')[0]
            if key in given and given[key].shape == tensor.shape:
                kept = taken if trained is None or key in trained else carried
                kept[module] += tensor.numel()
                self._given[key] = given[key]
            else:
                found = f'has shape {tuple(given[key].shape)}' if key in given else 'is missing'
                unmatched[module].append(f'{key} {found}, expected {tuple(tensor.shape)}')
        left = defaultdict(list)
        for key in given.keys() - own.keys():
            left[key.split('.')[0]].append(key)
        if trained is None:
            report = {'taken': _sizes(taken)}
        else:
            report = {'trained': _sizes(taken), 'carried along untrained': _sizes(carried)}
        report |= {'fresh': list(unmatched), 'dropped': sorted({*left, *left_out})}
        listed = '; '.join(
            f'{what}: {", ".join(names) or "none"}' for what, names in report.items()
        )
        runner.logger.info(f'weights {listed}')
        for module, problems in unmatched.items():
            if module not in fresh:
                raise UserError(
                    f'{len(problems)} tensors of {module!r} do not match the checkpoint; the '
                    f'first: {problems[0]}. Only {fresh} may start fresh.'
                )
        for module, keys in left.items():
            if module not in self.fresh + self.dropped:
                raise UserError(
                    f'{len(keys)} tensors of {module!r} in the checkpoint have no place in the '
                    f'model; the first: {min(keys)}. Only {self.dropped} may be left behind.'
                )

    def _refuse_unknown(self, model: nn.Module) -> None:
        # A module may be None or without weights: a config without fusion inherits its hooks, too.
        unknown = [name for name in self.anew if not hasattr(model, name)]
        if unknown:
            modules = sorted(name for name, _ in model.named_children())
            raise UserError(f'anew: the model has no {unknown}, only {modules}')

    def before_train(self, runner: Runner) -> None:
        """Compare after mmengine has copied the weights.

        Raises:
            UserError: one that matches was not taken over.
        """
        given, self._given = self._given, {}
        own = bare(runner.model).state_dict()
        left = [key for key, value in given.items() if not _same(own[key], value)]
        if left:
            raise UserError(
                f"{len(left)} of the checkpoint's tensors were not taken over, though their names "
                f'and shapes match; the first: {left[0]}. The log says above what hindered it'
            )


def _same(own: Tensor, given: Tensor) -> bool:
    """Whether a tensor holds another one's values, which may be of less precision."""
    expected = given.to(own)
    return bool((own.eq(expected) | own.isnan() & expected.isnan()).all())


def _modules(weights: Mapping[str, Tensor]) -> set[str]:
    return {key.split('.')[0] for key in weights}


def _sizes(counts: Mapping[str, int]) -> list[str]:
    return [f'{module} ({count:,} values)' for module, count in counts.items()]


def _with_buffers(trained: set[str] | None, model: nn.Module) -> set[str] | None:
    """Names of the trained parameters and of the buffers beside them, batch norm's statistics."""
    if trained is None:
        return None
    modules = {name.rpartition('.')[0] for name in trained}
    buffers = [name for name, _ in model.named_buffers()]
    return trained | {name for name in buffers if name.rpartition('.')[0] in modules}
