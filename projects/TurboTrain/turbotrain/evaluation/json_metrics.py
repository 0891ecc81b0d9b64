"""Metrics as files have them."""

import math
from collections.abc import Mapping

__all__ = ['json_metrics']


def json_metrics(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics by name, None where nothing defines one: JSON has no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
