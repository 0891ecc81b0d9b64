"""Recipes: trainings in stages, each of which starts from the weights of the one before.

A recipe is a config of ``configs/recipes``: ``stages`` by name, each with a training config, its
length in ``epochs`` and the modules that start ``fresh`` or ``anew``. A stage's folder is named
after all that decides its weights, so that a stage that two recipes share is trained once, an
interrupted one is gone on with, and one whose config was changed is trained anew.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..commands import ROOT, enable_amp, need, read_config
from .budget import train_for, train_for_epochs
from .settings import Settings

RECIPES = ROOT / 'configs/recipes/mini'
SEEDS = 1000  # between the seeds of two stages; more than anybody compares
# Of a config, what measures a training's weights, and what only watches it.
MEASURING = ('test_cfg', 'test_dataloader', 'test_evaluator')
WATCHING = (
    'default_hooks', 'log_level', 'log_processor', 'of_mode', 'vis_backends', 'visualizer',
    'work_dir',
)  # fmt: skip
Change = Callable[[str, Config], None]


@dataclass(frozen=True)
class Stage:
    """One training of a recipe, ready to run."""

    name: str
    epochs: int
    config: Config
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """What the training leaves at its end."""
        loop = self.config.train_cfg
        name = f'iter_{loop.max_iters}' if 'max_iters' in loop else f'epoch_{loop.max_epochs}'
        return self.folder / f'{name}.pth'

    @property
    def measurement(self) -> Path:
        """The folder of its metrics, named after what they are measured with."""
        return self.folder / f'test-{digest({key: self.config.get(key) for key in MEASURING})}'

    @property
    def is_measured(self) -> bool:
        """Whether there is something to measure: not after pretraining."""
        return bool(self.config.get('test_evaluator'))


def use_data_root(cfg: Config, data_root: Path | None) -> None:
    """Have all loaders of a config read another folder; None leaves them theirs."""
    for split in ('train', 'val', 'test') if data_root else ():
        if cfg.get(f'{split}_dataloader'):
            cfg[f'{split}_dataloader'].dataset.data_root = str(data_root)


def recipe_paths() -> dict[str, Path]:
    """Name of the recipe -> its config for the mini set."""
    return {path.stem: path for path in sorted(RECIPES.glob('*.py'))}


def stages_of(
    recipe: Path,
    seed: int,
    settings: Settings,
    change: Change | None = None,
    epochs: Mapping[str, int] | None = None,
    start: Path | None = None,
) -> Iterator[Stage]:
    """The stages of a recipe in their order.

    Args:
        recipe: its config.
        seed: of the last stage, whatever comes before it. Each earlier one has another, or they
            would all see the same samples in the same order, augmented alike.
        settings: see :class:`Settings`.
        change: called with the name and the config of each stage, to change the config.
        epochs: of stages by name, instead of the recipe's own; 0 leaves a stage out.
        start: checkpoint that the first stage starts from.
    """
    recipe_cfg = read_config(recipe)
    need(recipe_cfg, ['stages', 'val_epochs'])
    epoch_iters = settings.epoch_iters or recipe_cfg.epoch_iters
    own = epochs or {}
    lengths = {name: own.get(name, stage.epochs) for name, stage in recipe_cfg.stages.items()}
    names = [name for name, length in lengths.items() if length]
    for place, name in enumerate(names, 1):
        stage, length = recipe_cfg.stages[name], lengths[name]
        own_seed = seed + (len(names) - place) * SEEDS
        cfg = Config.fromfile(ROOT / stage.config, import_custom_modules=False)
        use_data_root(cfg, settings.data_root)
        if settings.split == 'val' and cfg.get('val_dataloader'):
            cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        if epoch_iters:
            every = recipe_cfg.val_epochs * epoch_iters
            train_for(cfg, length * epoch_iters, own_seed, every)
        else:
            train_for_epochs(cfg, length, own_seed, recipe_cfg.val_epochs)
        cfg.load_from, cfg.custom_hooks = None, []
        if start:
            cfg.load_from = str(start)
            starts = {key: stage.get(key, ()) for key in ('fresh', 'anew')}
            cfg.custom_hooks = [dict(type='TransferReportHook', **starts)]
        if change:
            change(name, cfg)
        if settings.amp:
            enable_amp(cfg)
        folder = settings.work_dir / f'seed_{seed}' / f'{name}-{fingerprint(cfg)}'
        made = Stage(name, length, cfg, folder)
        yield made
        start = made.checkpoint


def fingerprint(cfg: Config) -> str:
    """Eight digits that differ wherever the weights may that two configs lead to.

    Checkpoints count by their names and their folders', which are themselves fingerprints: work
    directories may be moved.
    """
    without = MEASURING + WATCHING
    values = {key: value for key, value in cfg.to_dict().items() if key not in without}
    return digest(
        with_texts(values, lambda text: Path(text).parts[-2:] if text.endswith('.pth') else text)
    )


def with_texts(value: Any, change: Callable[[str], Any]) -> Any:
    """A config's value, or the whole config, with every text in it changed."""
    if isinstance(value, dict):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(with_texts(item, change) for item in value)
    return change(value) if isinstance(value, str) else value


def digest(values: dict) -> str:
    """Eight digits that differ wherever two dictionaries do."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
