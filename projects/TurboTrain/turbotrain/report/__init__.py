"""One page that compares runs, made of what they left in their work directories."""

from .page import Options, render_report
from .work_dir import Run, read_runs

__all__ = ['Options', 'Run', 'read_runs', 'render_report']
