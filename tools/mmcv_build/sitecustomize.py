"""Have mmcv's setup.py run with Python 3.13: for the folder of this file on PYTHONPATH.

It reads its version by ``exec`` within a function and looks for it in ``locals()``. Since Python
3.13 (PEP 667) ``exec`` writes into a copy; here it writes into the function's own variables again.
"""

import builtins
import sys
from typing import Any

_exec = builtins.exec


def _exec_in_place(code: Any, globals: dict | None = None, locals: Any = None) -> None:
    caller = sys._getframe(1)
    if globals is None:
        globals, locals = caller.f_globals, caller.f_locals
    _exec(code, globals, globals if locals is None else locals)


builtins.exec = _exec_in_place
