"""Checkpoints that survive a kill and a full disk."""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...errors import CheckpointError, SettingError
from ...whole_file import write_whole
from ..checkpoint import newest_checkpoint

__all__ = ['DurableCheckpointHook']

# What a command line sets in the config: where this machine has the run.
_OWN_PATHS = re.compile(
    r"""^((?:work_dir|load_from) = )(['"])/(?:.*/)?([^/]+)/?\2$""", re.MULTILINE
)


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, which always leaves a whole checkpoint behind.

    A checkpoint is written to ``NAME.partial``, flushed to the disk and renamed; only then does
    ``last_checkpoint`` name it, and only then is the one deleted that it replaces. Where it cannot
    be written the run ends and says from which one it can go on.

    mmengine deletes the files that a resumed checkpoint names as the best and the oldest ones. Here
    a checkpoint holds their names, without folders, and they are looked for in the run's own folder
    alone. So a run that goes on from another run's checkpoint leaves that run's files alone, and a
    folder can be moved or copied.

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
        unknown = self.args.keys() - inspect.signature(Runner.save_checkpoint).parameters.keys()
        if unknown:  # mmengine would find out when it saves the first one
            raise SettingError(f'DurableCheckpointHook has no argument {sorted(unknown)}')
        elsewhere = '://' in str(self.out_dir) or self.file_client_args is not None
        if not elsewhere and self.backend_args is None:
            self.backend_args = dict(backend='durable')

    def before_run(self, runner: Runner) -> None:
        """Resume without a checkpoint's name: from the newest here, wherever a file says it was."""
        if runner._resume and runner._load_from is None and self.out_dir is None:
            runner._load_from = newest_checkpoint(runner.work_dir)
            runner._resume = runner._load_from is not None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take up no names but those that this hook gives to files."""
        hub = checkpoint.get('message_hub', {})
        info = hub.get('runtime_info', {})
        for found in (info, hub.get('resumed_keys', {})):
            found.pop('last_ckpt', None)  # mmengine's, which nothing reads
        if 'keep_ckpt_ids' in info:
            info['keep_ckpt_ids'] = [step for step in info['keep_ckpt_ids'] if type(step) is int]
        for key in [key for key in info if key.startswith('best_ckpt')]:
            info[key] = PurePath(str(info[key])).name

    def before_train(self, runner: Runner) -> None:
        """Find the best checkpoints so far in this run's folder, and the one it goes on from."""
        super().before_train(runner)
        resumed = runner._load_from if runner._resume else None
        if resumed and Path(resumed).resolve().parent == Path(self.out_dir).resolve():
            # mmengine saves the last one once more when a validation finds it the best.
            self.last_ckpt = resumed
        if hasattr(self, 'best_ckpt_path'):
            self.best_ckpt_path = self._own_best(self.best_ckpt_path, self.key_indicators[0])
        elif hasattr(self, 'best_ckpt_path_dict'):
            self.best_ckpt_path_dict = {
                key: self._own_best(name, key) for key, name in self.best_ckpt_path_dict.items()
            }

    def _own_best(self, name: str | None, key: str) -> str | None:
        """The path of a best checkpoint that an earlier part of this run has written."""
        prefix = 'best_' if key == 'auto' else f'best_{key}_'.replace('/', '_')
        if not name or not name.startswith(prefix):
            return None
        path = self.file_backend.join_path(self.out_dir, name)
        return path if self.file_backend.isfile(path) else None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Names instead of paths; in the text of the config too, which a checkpoint has twice."""
        info = checkpoint['message_hub']['runtime_info']
        for key in [key for key in info if key.startswith('best_ckpt')]:
            info[key] = PurePath(info[key]).name
        for texts in (info, checkpoint['meta']):
            if 'cfg' in texts:
                texts['cfg'] = _OWN_PATHS.sub(r'\1\2\3\2', texts['cfg'])

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
                # Another folder or storage is named in full.
                own = self.out_dir == runner.work_dir
                name = self.filename_tmpl.format(step) if own else self.last_ckpt
                write_whole(Path(runner.work_dir) / 'last_checkpoint', name.encode())
        self._remove(outdated)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Mmengine's, but the best one so far is deleted after the better one is there.

        Raises:
            SettingError: there is no metric of that name.
        """
        unknown = set(self.save_best or ()) - metrics.keys() - {'auto'}
        if unknown:
            raise SettingError(
                f'save_best: validation gives no {sorted(unknown)}, only {sorted(metrics)}'
            )
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
        return self.last_ckpt or (runner._load_from if runner._resume else None)

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
