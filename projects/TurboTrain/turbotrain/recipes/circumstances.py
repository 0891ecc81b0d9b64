"""What belongs to every measurement."""

import os
import platform
import time
from importlib import metadata

import torch

__all__ = ['circumstances']


def circumstances(command: str | None = None) -> dict:
    """Versions, hardware and date, and the command that repeats the measurement.

    Args:
        command: None leaves it out.
    """
    hardware = f'{torch.get_num_threads()} threads on {os.cpu_count()} CPU cores'
    if torch.cuda.is_available():
        hardware = torch.cuda.get_device_name()
    versions = {name: metadata.version(name) for name in ('torch', 'mmcv', 'mmdet3d')}
    about = dict(
        versions=dict(python=platform.python_version()) | versions,
        hardware=hardware,
        date=time.strftime('%Y-%m-%d'),
    )
    return dict(command=command) | about if command else about
