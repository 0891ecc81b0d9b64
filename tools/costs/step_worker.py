"""A training of the code in the working directory, a step on request; see ``step_times.py``.

``python -m tools.costs.step_worker CONFIG FOLDER``: FOLDER holds ``batches.pickle``, and
``weights.pt`` or the place for it. Each line of the input is a command, each answer a line of JSON.
"""

import copy
import importlib
import json
import logging
import os
import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from tools.costs.arithmetic import best_rate, count_operations, wall_seconds
from tools.costs.memory import peak_megabytes

# Commits of before 2026-11-29 know the package by its other name alone.
PACKAGE = (
    'projects.TurboTrain.turbotrain' if Path('projects/__init__.py').exists() else 'turbotrain'
)
engine = importlib.import_module(f'{PACKAGE}.engine')


class BatchReader(pickle.Unpickler):
    """Reads what today's package has written, by the name that the package has here."""

    def find_class(self, module: str, name: str) -> Any:
        """A class of a batch."""
        head, dot, rest = module.partition('.')
        return super().find_class((PACKAGE if head == 'turbotrain' else head) + dot + rest, name)


def seconds() -> float:
    """Processor time of this process; with a GPU, the time on the wall, once all is done."""
    return wall_seconds() if torch.cuda.is_available() else time.process_time()


class Stopwatch:
    """Time that each part of a model takes forward and backward.

    Backward passes work on a part from when the gradient of its output arrives until that of
    another part's output does, or no parameter's gradient is left.
    """

    def __init__(self, model: nn.Module) -> None:
        self.reset()
        for name, module in _parts(model):
            # Heads are called by their loss, all other modules by their forward.
            methods = ('loss', 'loss_and_predict', 'forward')
            method = next(name for name in methods if hasattr(module, name))
            setattr(module, method, partial(self._call, name, getattr(module, method)))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_hook(self._note)

    def reset(self) -> None:
        """Forget what was measured."""
        self.forward: Counter[str] = Counter()
        self.backward: Counter[str] = Counter()
        self._current, self._since = '', 0.0

    def _call(self, name: str, method: Callable, *args: Any, **kwargs: Any) -> Any:
        start = seconds()
        outputs = method(*args, **kwargs)
        self.forward[name] += seconds() - start
        for output in _tensors(outputs):
            output.register_hook(partial(self._arrive, name))
        return outputs

    def _arrive(self, name: str, gradient: Tensor) -> None:
        self._note(gradient)
        self._current = name

    def _note(self, gradient: Tensor) -> None:
        now = seconds()
        if self._current:
            self.backward[self._current] += now - self._since
        self._since = now


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        if name == 'detector' or isinstance(child, nn.ModuleDict):
            yield from _parts(child)
        elif name != 'data_preprocessor':
            yield name, child


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.requires_grad else []
    if isinstance(value, dict):
        value = list(value.values())
    return [t for item in value for t in _tensors(item)] if isinstance(value, list | tuple) else []


class Training:
    """A model and its optimiser, a step at a time on given batches."""

    def __init__(self, config: str, folder: Path) -> None:
        logging.disable(logging.INFO)
        if hasattr(engine, 'keep_freed_memory'):  # older commits' trainings do not
            engine.keep_freed_memory()
        init_default_scope('mmdet3d')
        cfg = Config.fromfile(config)
        torch.manual_seed(0)
        self.model = MODELS.build(cfg.model)
        self.model.init_weights()
        weights = folder / 'weights.pt'
        if weights.exists():
            # Parts that changed between the two commits begin with weights of their own.
            own, first = self.model.state_dict(), torch.load(weights)
            same = {k: v for k, v in first.items() if k in own and own[k].shape == v.shape}
            own.update(same)  # keeps the versions of modules, which own | same would not
            self.model.load_state_dict(own)
        else:
            torch.save(self.model.state_dict(), weights)
        self.model.to('cuda' if torch.cuda.is_available() else 'cpu').train()
        # As training begins; without it, rounding errors grow faster.
        cfg.optim_wrapper.optimizer.lr *= cfg.param_scheduler[0].start_factor
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        with (folder / 'batches.pickle').open('rb') as file:
            self.batches = BatchReader(file).load()
        self.watch = Stopwatch(self.model)
        self.steps = 0

    def step(self) -> dict:
        """Train on the next batch; its loss and the seconds it took, by part."""
        batch = copy.deepcopy(self.batches[self.steps % len(self.batches)])
        torch.manual_seed(self.steps)
        self.steps += 1
        self.watch.reset()
        start = seconds()
        losses = self.model.train_step(batch, self.optimizer)
        return dict(
            total=seconds() - start,
            loss=losses['loss'].item(),
            forward=self.watch.forward,
            backward=self.watch.backward,
        )

    def memory(self) -> dict:
        """MB at the peak of the next step."""
        return dict(megabytes=peak_megabytes(self.step))

    def operations(self) -> dict:
        """How many operations the next step's convolutions and matrix products have."""
        return dict(operations=count_operations(self.step))

    def rate(self) -> dict:
        """How many of them a second this process does at its best."""
        return dict(rate=best_rate(seconds))


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    training = Training(sys.argv[1], Path(sys.argv[2]))
    for command in sys.stdin:
        print(json.dumps(getattr(training, command.strip())()), file=answers, flush=True)


if __name__ == '__main__':
    main()
