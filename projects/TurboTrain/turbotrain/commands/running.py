"""From a config to a runner, on one process or many, with a GPU or without."""

import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.registry import MODELS, OPTIMIZERS, RUNNERS
from mmengine.runner import Runner

from ..datasets.readers import last_read
from ..engine import keep_freed_memory, newest_checkpoint, read_checkpoint
from ..engine.checkpoint import refuse_misfit
from ..engine.process_watch import ProcessWatch
from ..engine.ranges import check_ranges, check_steps
from ..engine.run_lock import only_run_in
from ..errors import CheckpointError, UserError
from ..workers import end_children_too
from .config import said

__all__ = ['explain', 'launch', 'run_tool']

_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Where mmengine and the optimiser wrapper call what a config names.
_BUILDERS = (
    'build_from_cfg', 'build_train_loop', 'build_dataloader', 'build_param_scheduler', '_build',
)  # fmt: skip
_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')  # of a process, by launcher


def launch(cfg: Config, task: str) -> Any:
    """Build the runner and have it ``train`` or ``test``; several CPU processes talk through gloo.

    Returns:
        What the runner's method returns.

    Raises:
        UserError: the checkpoint to start from is missing, model and data are of different ranges
            or steps, the launcher needs GPUs, the model cannot be compiled, the disk is full, a
            data worker died, another run writes into the work directory, or the checkpoint to
            resume from is of another run.
    """
    if task == 'train':
        _refuse_unknown_optimizer(cfg)
    _refuse_compilation(cfg)
    source = cfg.get('load_from')
    if source and '://' not in source and not Path(source).is_file():
        hint = (
            ' Stage 2 starts from stage 1: run the pretrain config first, or name its checkpoint '
            'with --cfg-options load_from=FILE.'
        )
        fresh_start = task == 'train' and not cfg.get('resume')
        raise UserError(f'there is no checkpoint {source!r}.{hint if fresh_start else ""}')
    check_ranges(cfg)
    check_steps(cfg)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        # mmengine's own set-up would pick a CUDA device for each process.
        if cfg.launcher != 'pytorch':
            raise UserError(f'launcher {cfg.launcher!r} needs GPUs; on CPUs use pytorch')
        torch.distributed.init_process_group('gloo')
        cfg.setdefault(
            'model_wrapper_cfg',
            dict(
                type='MMDistributedDataParallel',
                device_ids=None,
                broadcast_buffers=False,
                find_unused_parameters=cfg.get('find_unused_parameters', False),
            ),
        )
    first = all(os.environ.get(name, '0') == '0' for name in _RANKS)
    try:
        with only_run_in(cfg.work_dir) if task == 'train' and first else nullcontext():
            if task == 'train' and cfg.get('resume'):
                _refuse_what_does_not_fit(cfg)
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
            # Processes watch each other by way of the place where they met.
            several = 'MASTER_ADDR' in os.environ and get_world_size() > 1
            with ProcessWatch() if several else nullcontext():
                return getattr(runner, task)()
    except UserError:
        raise
    except Exception as error:
        known = explain(error, cfg.work_dir) or _not_resumed(error, cfg.get('load_from'))
        if known is None:
            raise
        raise known from error
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _refuse_what_does_not_fit(cfg: Config) -> None:
    """Stop before the run has written a config, a log or a checkpoint of its own."""
    path = cfg.get('load_from') or newest_checkpoint(cfg.work_dir)
    if path is None or '://' in path:
        return
    with MODELS.switch_scope_and_registry(cfg.get('default_scope')) as models:
        refuse_misfit(path, read_checkpoint(path), models.build(cfg.model))


def _not_resumed(error: Exception, path: str | None) -> UserError | None:
    """A sentence for a checkpoint that mmengine could not go on from."""
    frames = traceback.walk_tb(error.__traceback__)
    if not any(frame.f_code.co_name == 'load_or_resume' for frame, _ in frames):
        return None
    return CheckpointError(
        str(path), f'does not fit this run: {type(error).__name__}: {said(error)[:200]}'
    )


def _refuse_unknown_optimizer(cfg: Config) -> None:
    """Mmengine asks None for the arguments of an optimiser that nobody has."""
    kind = (cfg.optim_wrapper.get('optimizer') or {}).get('type')
    with OPTIMIZERS.switch_scope_and_registry(cfg.get('default_scope')) as known:
        if isinstance(kind, str) and known.get(kind) is None:
            raise UserError(f'optim_wrapper.optimizer.type: there is no optimiser {kind!r}')


def _refuse_compilation(cfg: Config) -> None:
    """Mmengine compiles whole steps, and what torch says of samples of agents is no help."""
    model = cfg.get('model') or {}
    kind = (model.get('detector', model).get('data_preprocessor') or {}).get('type')
    if cfg.get('compile') and kind == 'CooperativeDataPreprocessor':
        raise UserError(
            'compile: torch cannot compile a whole step of a cooperative model, data samples '
            'included, as mmengine asks it to; leave compile out'
        )


def explain(error: Exception, work_dir: str) -> UserError | None:
    """A sentence for what happens to a run from outside: a full disk, a data worker that died.

    Returns:
        None for any other error.
    """
    number, named = getattr(error, 'errno', None), getattr(error, 'filename', None)
    if number in _NOT_WRITABLE and isinstance(named, str) and _on_the_way(named, work_dir):
        return UserError(
            f'{named}: cannot be written ({error.strerror}); name another folder by --work-dir'
        )
    if number in _FULL:
        # Logs and pictures fill a disk as well as checkpoints do.
        return UserError(
            f'{named or work_dir}: cannot be written ({error.strerror}). The checkpoints '
            f'in {work_dir} are whole. Make room, then go on with --resume'
        )
    return _worker_died(error)


def _on_the_way(path: str, work_dir: str) -> bool:
    """Whether a path is in the work directory, or leads there."""
    one, other = Path(path).absolute(), Path(work_dir).absolute()
    return one.is_relative_to(other) or other.is_relative_to(one)


def _worker_died(error: Exception) -> UserError | None:
    """Which file a data worker was at when it was killed, for want of memory say."""
    found = re.search(r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)', str(error))
    if not found:
        return None
    pids = [int(word) for word in found[1].split(',')]
    files = [f'worker {pid}: {last_read(pid) or "unknown"}' for pid in pids]
    return UserError(
        f'a data worker died ({found[2].strip() or "killed"}); the file it read last: '
        f'{"; ".join(files)}. Memory may be short: fewer num_workers need less'
    )


def run_tool(main: Callable[[], None]) -> None:
    """Run a command's main function; what a user can mend ends it with a sentence, not a trace."""
    end_children_too()
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have letters that it cannot write
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('error: interrupted')
    except UserError as error:
        # A data worker's error comes with the trace it had there.
        in_worker = re.match(r'Caught \w+ in DataLoader worker', str(error))
        text = str(error).strip().splitlines()[-1].partition(': ')[2] if in_worker else error
        sys.exit(f'error: {text}')
    except OSError as error:
        if error.errno in _FULL:
            sys.exit(f'error: {error.filename or "a file"}: {error.strerror}; make room and repeat')
        if error.filename is None and error.errno is not None:
            raise
        # Without a number it is one of ours, and its text a sentence.
        sys.exit(
            f'error: {error.filename}: {error.strerror}' if error.filename else f'error: {error}'
        )
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        known = _not_built(error)
        if known is None:
            raise
        sys.exit(f'error: the config cannot be built: {known}')


def _not_built(error: Exception) -> str | None:
    """What a registry, or the constructor that it called, says of what the config gives them.

    That is a type that nobody registered, an argument that a type does not have, or a value that
    its constructor refuses by itself. Whatever fails deeper down may be a fault of the code.

    Returns:
        None for any other error.
    """
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = [i for i, name in enumerate(names) if name in _BUILDERS]
    inner = names[places[-1] + 1 :] if places else None
    text = said(error)
    if inner == [] or inner and {*inner} == {'__init__'} and not isinstance(error, KeyError):
        return text.split(' Please check whether')[0] or None
    return None
