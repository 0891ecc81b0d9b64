"""Tasks that never turn up: a mistyped pattern would switch balancing off in silence."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import SettingError
from .processes import average

__all__ = ['TaskWatch']


class TaskWatch:
    """Looks at the beginning of training, until every task had a loss and two of them met.

    A task may have no loss in a batch, so that one is missed only after some forward passes.
    Processes tell each other what they saw while something is missing, mostly in the first step
    alone: all of them stop at the same step, or none does.

    Args:
        tasks: task name -> names of its losses.
        within: forward passes in which every task has to have a loss, and suppressing updates in
            which two have to meet; 0 does not look.

    Raises:
        SettingError: ``within`` is below 0.
    """

    def __init__(self, tasks: Mapping[str, Sequence[str]], within: int) -> None:
        self.tasks = {task: list(patterns) for task, patterns in tasks.items()}
        if within < 0:
            raise SettingError(f'tasks_within: expected a number of forward passes, got {within}')
        self.within = within
        self.seen: list[str] = []
        self.passes = self.updates = 0
        self.met = False
        self._names: dict[str, None] = {}

    def note_losses(
        self, losses: Mapping[str, Tensor], names: Iterable[str], device: torch.device
    ) -> None:
        """Take note of a forward pass.

        Args:
            losses: task -> loss, of the tasks that have one on this process.
            names: of all the model's losses.
            device: where processes can exchange numbers.

        Raises:
            SettingError: it was the last pass that counts, and a task is missing on all processes.
        """
        if not self.within or len(self.seen) == len(self.tasks):
            return
        self.passes += 1
        self._names.update(dict.fromkeys(names))
        live = [t in self.seen or (t in losses and losses[t].requires_grad) for t in self.tasks]
        shares = average(torch.tensor(live, dtype=torch.float32, device=device)).tolist()
        self.seen = [task for task, share in zip(self.tasks, shares, strict=True) if share > 0]
        if self.passes < self.within or len(self.seen) == len(self.tasks):
            return
        missing = {task: p for task, p in self.tasks.items() if task not in self.seen}
        raise SettingError(
            f'optim_wrapper.tasks: no loss with a gradient belongs to {_listed(missing)} after '
            f"{self.passes} forward passes; the model's losses are {', '.join(self._names)}. "
            'Correct the pattern or leave the task out; if it begins later, raise '
            'optim_wrapper.tasks_within (0 waits for ever)'
        )

    def note_meeting(self, tasks: Sequence[int], place: str) -> None:
        """Take note of a suppressing update.

        Args:
            tasks: numbers of those with a gradient where tasks meet, the same on all processes.
            place: where that is, for the message.

        Raises:
            SettingError: it was the last update that counts, and no two tasks ever met.
        """
        self.met = self.met or len(tasks) > 1
        if not self.within or self.met or len(self.seen) < len(self.tasks):
            return
        self.updates += 1
        if self.updates == self.within:
            raise SettingError(
                f'after {self.updates} suppressing updates no two of the tasks '
                f'{", ".join(self.tasks)} have met in {place}: there is no conflict to suppress. '
                'Name a module that several tasks use, train what they share, or use the stock '
                'OptimWrapper; if that is trained later, raise optim_wrapper.tasks_within (0 waits '
                'for ever)'
            )

    def state_dict(self) -> dict:
        """What was seen so far, the same on all processes."""
        return dict(
            tasks=self.tasks, seen=self.seen, passes=self.passes, updates=self.updates, met=self.met
        )

    def load_state_dict(self, state: dict) -> None:
        """Go on from there, unless it was seen with other tasks or patterns."""
        if state['tasks'] == self.tasks:
            self.seen, self.met = list(state['seen']), state['met']
            self.passes, self.updates = state['passes'], state['updates']


def _listed(tasks: Mapping[str, Sequence[str]]) -> str:
    return ', '.join(f'task {task!r} ({", ".join(patterns)})' for task, patterns in tasks.items())
