"""Which training steps suppress conflicts and which run free."""

from mmengine.registry import Registry

__all__ = ['SCHEDULES', 'PeriodicSchedule']

SCHEDULES = Registry('conflict suppression schedule')


@SCHEDULES.register_module()
class PeriodicSchedule:
    """``free`` plain steps, then ``suppress`` conflict-suppressing ones, and so on.

    TurboTrain alternates the two; how often is not public, and one to one is our choice.

    Args:
        free: plain steps of a period; 0 suppresses always.
        suppress: suppressing steps of a period; 0 never suppresses.
    """

    def __init__(self, free: int = 1, suppress: int = 1) -> None:
        if free < 0 or suppress < 0 or free + suppress == 0:
            raise ValueError(f'expected two counts, not both 0, got {free=} and {suppress=}')
        self.free, self.suppress = free, suppress

    def suppresses(self, step: int) -> bool:
        """Whether this parameter update (counted from 0) suppresses conflicts."""
        return step % (self.free + self.suppress) >= self.free
