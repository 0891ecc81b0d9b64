"""Metrics as files have them."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ['json_metrics']


def json_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics by name, None where nothing defines one: JSON has no NaN."""
    undefined = {k for k, v in metrics.items() if isinstance(v, float) and not math.isfinite(v)}
    return {name: None if name in undefined else value for name, value in metrics.items()}
