"""The reference values: numbers that the original authors' functions gave on made-up inputs."""

import json
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ['load_golden']


@cache
def load_golden() -> dict[str, Any]:
    """The whole file; its ``note`` says where the values come from. Don't change what you get."""
    path = Path(__file__).parent / 'data' / 'golden_vectors.json'
    return json.loads(path.read_text(encoding='utf-8'))
