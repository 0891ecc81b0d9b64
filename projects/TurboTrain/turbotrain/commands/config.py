"""From a command line to a config."""

import argparse
import inspect
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.runner import Runner

from .. import plugin  # noqa: F401 - for configs that do not import it
from ..datasets import MODES, check_metainfo, innermost
from ..errors import UserError
from .key_values import KeyValues

__all__ = [
    'ROOT',
    'add_common_arguments',
    'enable_amp',
    'mixed_precision',
    'load_config',
    'need',
    'only_dataset',
    'read_config',
    'said',
]

ROOT = Path(__file__).resolve().parents[4]
_MODE, _USUAL_MODE = 'V2X_MODE', 'vc'  # the variable that configs read, and their default
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# What --cfg-options may set; other names are shorthands inside config files.
_SETTINGS = {
    *inspect.signature(Runner).parameters,
    'activation_checkpointing', 'compile', 'efficient_conv_bn_eval', 'find_unused_parameters',
    'model_wrapper_cfg', 'sync_bn',
}  # fmt: skip
# Those of Runner.register_default_hooks, which it switches off itself where they are None.
_MMENGINE_HOOKS = (
    'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint',
)  # fmt: skip
_DEFAULT_HOOKS = dict(
    checkpoint=dict(type='DurableCheckpointHook', interval=1),
    plain_checkpoint=dict(type='PlainCheckpointHook'),
    exact_resume=dict(type='ExactResumeHook'),
    missed_validation=dict(type='MissedValidationHook'),
    numerical_faults=dict(type='NumericalFaultHook'),
    trained_parts=dict(type='TrainedPartsHook'),
)
_WRAPPERS = ('OptimWrapper', 'ConflictSuppressingOptimWrapper')  # with twins in mixed precision


def add_common_arguments(
    parser: argparse.ArgumentParser,
    checkpoint: bool = False,
    usual: tuple[Path, Path] | None = None,
) -> None:
    """Add the arguments that mmdet3d's train.py and test.py share.

    Args:
        parser: of the command.
        checkpoint: whether it takes one.
        usual: the config and the checkpoint of a command that can do without being told.
    """
    for i, name in enumerate(['config', 'checkpoint'][: 1 + checkpoint]):
        may = dict(nargs='?', default=str(usual[i])) if usual else {}
        parser.add_argument(name, help=f'{name} file', **may)
    parser.add_argument('--mode', choices=[*MODES], help='who is the ego, and whom it hears')
    parser.add_argument('--work-dir', help='where logs, checkpoints and metrics go')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        help='changes to the config, key=value; paths are relative to the project, as in configs',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='launcher'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def read_config(path: str | Path, mode: str | None = None) -> Config:
    """Read a config, in a mode if it has several; None takes that of ``V2X_MODE``, or its own.

    Raises:
        UserError: there is none, it cannot be read, or the mode is not for it to choose.
    """
    if not Path(path).is_file():
        raise UserError(f'there is no config {str(path)!r}')
    try:
        with _environment(_MODE, mode):
            cfg = Config.fromfile(path)
    except Exception as error:  # a config is code
        place = traceback.extract_tb(error.__traceback__)[-1]
        line = f', line {place.lineno}' if Path(place.filename).name == Path(path).name else ''
        kind = type(error).__name__
        raise UserError(
            f'{path}{line}: cannot be read as a config: {kind}: {said(error)}'
        ) from error
    for loader in filter(None, map(cfg.get, _LOADERS)) if mode else ():
        others = {str(own.get('mode')) for own in innermost(loader.dataset)} - {mode}
        if others:
            raise UserError(f'{path}: --mode {mode}: this config has one mode only, {others.pop()}')
    return cfg


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Have a variable of the environment for a while; None leaves it as it is."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif value is not None:
            del os.environ[name]


def need(cfg: Config, keys: Sequence[str]) -> None:
    """Check what a config has to say.

    Raises:
        UserError: one of the keys is missing or None.
    """
    missing = [key for key in keys if cfg.get(key) is None]
    if missing:
        raise UserError(f'{cfg.filename}: the config has no {" and no ".join(missing)}')


def load_config(args: argparse.Namespace, needs: Sequence[str] = ()) -> Config:
    """Read the config that the command line names, and change to the project's root.

    Paths on the command line are relative to where it was typed; paths inside configs are relative
    to the project's root, so that every command works from anywhere. The data sets' random
    transforms follow ``randomness.seed``, and checkpoints can be read by any torch.

    Args:
        args: what :func:`add_common_arguments` asks for.
        needs: keys that the command needs; the scope of names is mmdet3d's if the config has none.

    Raises:
        UserError: there is no such config, an option of it has no effect, or data sets in one
            differ in their classes.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    path = Path(args.config).resolve()
    work_dir = Path(args.work_dir).resolve() if args.work_dir else None
    os.chdir(ROOT)
    cfg = read_config(path, args.mode)
    cfg.launcher = args.launcher
    _merge_options(cfg, args.cfg_options or {})
    need(cfg, needs)
    cfg.setdefault('default_scope', 'mmdet3d')
    if work_dir is None:
        mode = args.mode or os.environ.get(_MODE, _USUAL_MODE)
        name = path.stem if mode == _USUAL_MODE else f'{path.stem}-{mode}'
        work_dir = ROOT / cfg.get('work_dir', f'work_dirs/{name}')
    cfg.work_dir = str(work_dir)
    # Configs that inherit mmdet3d's runtime say nothing of this.
    seed = cfg.setdefault('randomness', ConfigDict()).setdefault('seed', 0)
    if type(seed) is not int:  # which the data follow
        raise UserError(f'randomness.seed: expected a whole number, got {seed!r}')
    _settle_hooks(cfg)
    for loader in filter(None, map(cfg.get, _LOADERS)):
        if not loader.get('num_workers'):
            loader.persistent_workers = False
        _prepare_dataset(loader, cfg.randomness.seed)
    # Bit-equal runs are promised on the CPU; on a GPU some layers have no deterministic kernel.
    cfg.randomness.setdefault('deterministic', not torch.cuda.is_available())
    return cfg


def _prepare_dataset(loader: ConfigDict, seed: int) -> None:
    """Have random transforms follow the seed and the epoch, in wrappers of data sets, too."""
    found = innermost(loader.dataset)
    for own in found:
        if own.type == 'V2XPnPDataset':
            own.setdefault('seed', seed)
    if found == [loader.dataset]:
        return
    check_metainfo(loader.dataset)
    sampler = loader.get('sampler') or {}
    if sampler.get('type') == 'EpochIndexSampler' and loader.dataset.type != 'EpochIndexDataset':
        loader.dataset = dict(type='EpochIndexDataset', dataset=loader.dataset)


def only_dataset(loader: ConfigDict) -> ConfigDict:
    """The config of the one data set of a loader, in wrappers or not.

    Raises:
        UserError: there are several.
    """
    found = innermost(loader.dataset)
    if len(found) > 1:
        names = [
            os.path.join(own.get('data_root', ''), own.get('ann_file', own.type)) for own in found
        ]
        raise UserError(f'this works on one data set, the config has {names}; name a config of one')
    return found[0]


def _merge_options(cfg: Config, options: dict) -> None:
    """Change a config as ``--cfg-options`` say."""
    for key, value in options.items():
        if key.split('.')[0] not in _SETTINGS:
            raise UserError(
                f'--cfg-options {key}: is no setting of a run; what has no dot may be a shorthand '
                'inside the config file, which is read already: set what it stands for, e.g. '
                'train_dataloader.dataset.data_root'
            )
        try:
            cfg.merge_from_dict({key: value})
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(f'--cfg-options {key}: {said(error)}') from error


def _settle_hooks(cfg: Config) -> None:
    """Add what every run has, and take out what is None, which switches a hook off.

    mmengine does the latter with its own default hooks only, and stops at others without a word.
    """
    hooks = dict(cfg.get('default_hooks') or {})
    added = [name for name in _DEFAULT_HOOKS if name not in hooks]
    if added:
        print_log(f'hooks that the config does not name are added: {", ".join(added)}', 'current')
    for name, own in _DEFAULT_HOOKS.items():
        hook = hooks.setdefault(name, own)
        if isinstance(hook, dict):
            hook.setdefault('type', own['type'])
    for name, hook in hooks.items():
        if not isinstance(hook, dict | NoneType):
            raise UserError(f'default_hooks.{name}: expected the config of a hook, got {hook}')
    if (hooks['checkpoint'] or {}).get('type') == 'CheckpointHook':
        hooks['checkpoint']['type'] = 'DurableCheckpointHook'
    cfg.default_hooks = {
        name: hook for name, hook in hooks.items() if hook is not None or name in _MMENGINE_HOOKS
    }
    custom = cfg.get('custom_hooks') or []
    if not isinstance(custom, list | tuple):
        raise UserError(f'custom_hooks: expected a list of hooks, got {custom}')
    cfg.custom_hooks = [hook for hook in custom if hook is not None]


def mixed_precision() -> str:
    """What ``--amp`` means here: float16 with a loss scaler on a GPU, elsewhere bfloat16."""
    return 'float16' if torch.cuda.is_available() else 'bfloat16'


def enable_amp(cfg: Config) -> None:
    """Turn the optimiser wrapper into its twin in :func:`mixed_precision`.

    One in bfloat16 stays as it is. One for GPUs becomes, on a CPU, what can run there.

    Raises:
        UserError: it is of another kind, or wants a type of numbers that a CPU does not train in.
    """
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    plain = kind.removeprefix('Amp').removeprefix('BFloat16')
    if plain not in _WRAPPERS:
        raise UserError(
            f'--amp knows {sorted(_WRAPPERS)}, the config has optim_wrapper.type {kind!r}'
        )
    if kind.startswith('BFloat16'):
        return
    if mixed_precision() == 'float16':
        wrapper.type = f'Amp{plain}'
        return
    dtype = str(wrapper.pop('dtype', None) or 'bfloat16').removeprefix('torch.')
    if dtype != 'bfloat16':
        raise UserError(f"--amp: optim_wrapper.dtype: a CPU trains in 'bfloat16', got {dtype!r}")
    for name in ('loss_scale', 'use_fsdp'):  # of the scaler, which bfloat16 does not need
        wrapper.pop(name, None)
    wrapper.type = f'BFloat16{plain}'


def said(error: Exception) -> str:
    """An error's text in one line; a KeyError's own is a quotation."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return ' '.join(str(text).split())
