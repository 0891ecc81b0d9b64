"""A bad channel: messages get lost and come late."""

import heapq
from typing import Any

import numpy as np

from ..errors import SettingError

__all__ = ['Channel']


class Channel:
    """Holds messages until they arrive, on whatever clock the caller counts by.

    Args:
        delay: seconds from sending to arrival, drawn for each message from (low, high).
        loss: share of the messages that never arrive.
        seed: of what is drawn.

    Attributes:
        lost: how many messages were lost.
    """

    def __init__(
        self, delay: tuple[float, float] = (0.0, 0.0), loss: float = 0.0, seed: int = 0
    ) -> None:
        low, high = delay
        if not 0 <= low <= high < np.inf:
            raise SettingError(f'delay: expected seconds from 0 up, low to high, got {low}, {high}')
        if not 0 <= loss <= 1:
            raise SettingError(f'loss: expected a share from 0 to 1, got {loss}')
        self.delay, self.loss, self.lost = delay, loss, 0
        self._rng = np.random.default_rng(seed)
        self._queue: list[tuple[float, int, Any]] = []
        self._count = 0

    def send(self, message: Any, time: float) -> None:
        """Send a message at a time, in seconds."""
        if self._rng.random() < self.loss:
            self.lost += 1
            return
        self._count += 1
        heapq.heappush(self._queue, (time + self._rng.uniform(*self.delay), self._count, message))

    def arrived(self, time: float) -> list[Any]:
        """Take out what has arrived by then, in the order of arrival."""
        found = []
        # Sums of times such as 0.1 s are off by rounding.
        while self._queue and self._queue[0][0] <= time + 1e-6:
            found.append(heapq.heappop(self._queue)[2])
        return found
