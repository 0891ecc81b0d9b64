"""Commands run in this process, which spares each of them its imports."""

import sys
from types import ModuleType

import pytest


def run_main(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    """The exit code of a command's main function, or the text that it exits with."""
    monkeypatch.setattr(sys, 'argv', [tool.__name__, *map(str, words)])
    try:
        tool.main()
    except SystemExit as stop:
        return stop.code
    return 0
