"""How much energy this machine uses, if it says."""

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

__all__ = ['EnergyMeter']

RAPL = Path('/sys/class/powercap')
RAPL_FILES = ('energy_uj', 'max_energy_range_uj')


class Counter(NamedTuple):
    """What a device has used since some moment in the past, joules."""

    value: float
    wraps_at: float
    """It starts at 0 again from there."""


class EnergyMeter:
    """Counts while it is open: the GPUs' energy (NVML), else the processor packages' (RAPL).

    Processors' counters wrap, once in some minutes under load: they are read more often.

    Args:
        period: seconds between two readings.

    Attributes:
        joules: what was used, or None where counters cannot be read.
    """

    def __init__(self, period: float = 20.0) -> None:
        self.period = period
        self.joules: float | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> 'EnergyMeter':
        """Begin to count."""
        for read in (_gpus, _processors):
            first = read()
            if first:
                self.joules = 0.0
                self._thread = threading.Thread(target=self._count, args=(read, first), daemon=True)
                self._thread.start()
                break
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _count(self, read: Callable[[], list[Counter]], last: list[Counter]) -> None:
        closed = False
        while not closed:
            closed = self._closed.wait(self.period)
            found = read()
            if len(found) != len(last):
                self.joules = None
                return
            for old, new in zip(last, found, strict=True):
                self.joules += new.value - old.value
                if new.value < old.value:
                    self.joules += new.wraps_at
            if not math.isfinite(self.joules):  # a counter that does not wrap began anew
                self.joules = None
                return
            last = found


def _gpus() -> list[Counter]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, no GPU: there is nothing to read
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [
            Counter(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, math.inf)
            for handle in handles
        ]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _processors() -> list[Counter]:
    try:
        # Beside packages there may be a zone of the whole platform, which contains them.
        zones = [
            zone
            for zone in sorted(RAPL.glob('intel-rapl:*'))
            if (zone / 'name').read_text().startswith('package')
        ]
        return [
            Counter(*(int((zone / name).read_text()) / 1e6 for name in RAPL_FILES))
            for zone in zones
        ]
    except (OSError, ValueError):
        return []
