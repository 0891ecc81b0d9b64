"""Checkpoints that survive a kill and a full disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..checkpoint import write_durably
from ..errors import CheckpointError

__all__ = ['DurableCheckpointHook']


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, which always leaves a whole checkpoint behind.

    A checkpoint is written to ``NAME.partial``, flushed to the disk and renamed; only then does
    ``last_checkpoint`` name it, and only then is the one deleted that it replaces. Where it cannot
    be written the run ends and says from which one it can go on.

    Before a checkpoint is made, ``gather_for_checkpoint(runner)`` of all hooks that have it is
    called on all processes: the checkpoint itself is made by the first one alone.

    Args:
        kwargs: those of ``CheckpointHook``. With ``by_epoch=False`` and ``interval=500`` it saves
            every 500 iterations, in the middle of an epoch too.

    Raises:
        CheckpointError: a checkpoint cannot be written.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        elsewhere = '://' in str(self.out_dir) or self.file_client_args is not None
        if not elsewhere and self.backend_args is None:
            self.backend_args = dict(backend='durable')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save, name it the last one, delete the oldest: in this order, unlike mmengine's."""
        runner.call_hook('gather_for_checkpoint')
        outdated = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self._path(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        before = self._last(runner)
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with self._told(self.last_ckpt, before):
            runner.save_checkpoint(
                self.out_dir,
                self.filename_tmpl.format(step),
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                last = Path(runner.work_dir) / 'last_checkpoint'
                write_durably(last, self.last_ckpt.encode())
        self._remove(outdated)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Mmengine's, but the best one so far is deleted after the better one is there."""
        names = ['best_ckpt_path', 'best_ckpt_path_dict']
        name = next((name for name in names if hasattr(self, name)), None)
        if name is None:
            return
        # mmengine deletes what it finds here, first thing.
        before = getattr(self, name)
        hidden = dict.fromkeys(before) if isinstance(before, dict) else None
        setattr(self, name, hidden)
        with self._told(f'{self.out_dir}: the best checkpoint', self._last(runner)):
            super()._save_best_checkpoint(runner, metrics)
        after = getattr(self, name)
        if isinstance(before, dict):
            setattr(self, name, {key: after[key] or before.get(key) for key in after})
            replaced = [before.get(key) for key in after if after[key]]
        else:
            setattr(self, name, after or before)
            replaced = [before] if after else []
        kept = getattr(self, name)
        kept = kept.values() if isinstance(kept, dict) else [kept]
        for path in replaced:
            self._remove(path if path not in kept else None)

    def _last(self, runner: Runner) -> str | None:
        # A run that was resumed has it from its checkpoint.
        return self.last_ckpt or runner.message_hub.runtime_info.get('last_ckpt')

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _remove(self, path: str | None) -> None:
        if path and is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)

    @contextmanager
    def _told(self, path: str, before: str | None) -> Iterator[None]:
        """Tell what the disk would not do, and what is left."""
        try:
            yield
        except OSError as error:
            left = f'{before} is whole' if before else 'no checkpoint was written before it'
            raise CheckpointError(
                path,
                f'cannot be written ({error.strerror or error}); {left}. Make room, then go on '
                'with --resume',
            ) from error
