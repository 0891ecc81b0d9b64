"""Which parameter updates suppress conflicts and which run free."""

from mmengine.registry import Registry

from ..errors import SettingError

__all__ = [
    'SCHEDULES',
    'PeriodicSchedule',
    'Schedule',
    'WhenNeededSchedule',
]

SCHEDULES = Registry('conflict suppression schedule')


class Schedule:
    """Free or suppressing? All processes have to answer alike."""

    def suppresses(self, step: int) -> bool:
        """Whether this parameter update (counted from 0) suppresses conflicts."""
        raise NotImplementedError

    def observe(self, step: int, cosine: float) -> None:
        """Take note of the lowest cosine between two tasks in a suppressing update."""

    def state_dict(self) -> dict:
        """Numbers that the next answers depend on."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Go on from where :meth:`state_dict` was called."""


@SCHEDULES.register_module()
class PeriodicSchedule(Schedule):
    """``free`` plain updates, then ``suppress`` conflict-suppressing ones, and so on.

    TurboTrain alternates the two; how often is not public. Two to one is our choice: with two tasks
    a suppressing step costs 1.25 to 2 plain ones, so that training takes 1.05 to 1.35 times as
    long.

    Args:
        free: plain updates of a period; 0 suppresses always.
        suppress: suppressing updates of a period; 0 never suppresses.
    """

    def __init__(self, free: int = 2, suppress: int = 1) -> None:
        if free < 0 or suppress < 0 or free + suppress == 0:
            raise SettingError(f'expected two counts, not both 0, got {free=} and {suppress=}')
        self.free, self.suppress = free, suppress

    def suppresses(self, step: int) -> bool:
        """Whether this parameter update (counted from 0) suppresses conflicts."""
        return step % (self.free + self.suppress) >= self.free


@SCHEDULES.register_module()
class WhenNeededSchedule(Schedule):
    """Suppress while the tasks are in conflict, and look for it now and then.

    A suppressing update measures the lowest cosine between two tasks' gradients, after averaging
    over processes. While the running mean of it is below ``threshold`` all updates suppress;
    otherwise they run free but for one in ``interval``, which measures. What it costs where
    there is no conflict is 1 / interval of the suppressing steps' price. All values are our choice.

    Args:
        threshold: mean cosine below which updates suppress.
        interval: updates from one measurement to the next while running free.
        momentum: share of the past in the running mean.
    """

    def __init__(self, threshold: float = 0.0, interval: int = 10, momentum: float = 0.5) -> None:
        if interval < 1 or not 0 <= momentum < 1:
            raise SettingError(
                f'expected interval >= 1, 0 <= momentum < 1: {interval=}, {momentum=}'
            )
        self.threshold, self.interval, self.momentum = threshold, interval, momentum
        self.mean: float | None = None
        self.measured_at = 0

    def suppresses(self, step: int) -> bool:
        """Whether this parameter update (counted from 0) suppresses conflicts."""
        if self.mean is None or self.mean < self.threshold:
            return True
        return step - self.measured_at >= self.interval

    def observe(self, step: int, cosine: float) -> None:
        """Take note of the lowest cosine between two tasks in a suppressing update."""
        past = cosine if self.mean is None else self.mean
        self.mean = self.momentum * past + (1 - self.momentum) * cosine
        self.measured_at = step

    def state_dict(self) -> dict:
        """The running mean and its date."""
        return dict(mean=self.mean, measured_at=self.measured_at)

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        self.mean, self.measured_at = state['mean'], state['measured_at']
