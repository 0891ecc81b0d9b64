"""How much energy this machine has used, if it says."""

from pathlib import Path

__all__ = ['energy_joules']

RAPL = Path('/sys/class/powercap')


def energy_joules() -> float | None:
    """A counter that only grows: the GPUs' (NVML), else the processor packages' (RAPL).

    Returns:
        Joules since some moment in the past, or None where neither can be read.
    """
    return _gpus() or _processors()


def _gpus() -> float | None:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, no GPU: there is nothing to read
        return None
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles) / 1e3
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _processors() -> float | None:
    try:
        counters = [path / 'energy_uj' for path in RAPL.glob('intel-rapl:?')]
        return sum(int(counter.read_text()) for counter in counters) / 1e6 or None
    except OSError:
        return None
