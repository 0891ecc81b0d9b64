"""A validation that an interruption has cut off is made up for."""

from pathlib import Path

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from ...whole_file import write_whole

__all__ = ['LAST_VALIDATION', 'MissedValidationHook']

LAST_VALIDATION = 'last_validation'
"""File of a work directory: the last iteration that was validated."""


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validate first where a run that goes on was stopped between a checkpoint and its validation.

    mmengine saves the checkpoint before it validates, and goes on after it: its metrics would be
    missing, those of the run's last iteration too, and it could not become the best one. The file
    ``last_validation`` of the work directory names the last iteration that was validated.
    """

    priority = 'LOWEST'  # it validates before training begins, when all other hooks are ready

    def before_train(self, runner: Runner) -> None:
        """Look whether a validation was due where the run goes on."""
        path = Path(runner.work_dir) / LAST_VALIDATION
        own = int(path.read_text()) if path.exists() else 0
        done = all_gather_object(own)[0]  # other machines may not have the file
        if runner._resume and runner.iter > done and _is_due(runner):
            runner.logger.info(f'--resume: iteration {runner.iter} is validated first')
            # As mmengine counts while it validates: the iteration and epoch that have just ended.
            runner.message_hub.update_info('iter', runner.iter - 1)
            runner.message_hub.update_info('epoch', max(runner.epoch - 1, 0))
            runner.val_loop.run()
        elif runner.iter < done and is_main_process():  # begun anew, or from an older checkpoint
            write_whole(path, f'{runner.iter}\n')

    def after_val(self, runner: Runner) -> None:
        """Take note."""
        if is_main_process() and runner.iter:
            write_whole(Path(runner.work_dir) / LAST_VALIDATION, f'{runner.iter}\n')


def _is_due(runner: Runner) -> bool:
    """Whether the training loop validates after the iteration that was the last one."""
    loop = runner.train_loop
    if runner.val_loop is None or not isinstance(loop, EpochBasedTrainLoop | IterBasedTrainLoop):
        return False
    now, end = runner.iter, runner.max_iters
    if isinstance(loop, EpochBasedTrainLoop):
        if now != runner.epoch * len(loop.dataloader):
            return False
        now, end = runner.epoch, runner.max_epochs
    loop._decide_current_val_interval()
    return bool(now and now >= loop.val_begin and (now % loop.val_interval == 0 or now == end))
