"""Collaboration modes: who is the ego, and whom it hears."""

from collections.abc import Iterable

from ..structures import INFRASTRUCTURE, VEHICLE

__all__ = ['MODES', 'in_mode_order', 'kind_of']

MODES = dict(
    vc=(VEHICLE, (VEHICLE, INFRASTRUCTURE)),
    ic=(INFRASTRUCTURE, (INFRASTRUCTURE, VEHICLE)),
    v2v=(VEHICLE, (VEHICLE,)),
    i2i=(INFRASTRUCTURE, (INFRASTRUCTURE,)),
)
"""Mode -> kind of the ego, kinds of all agents in the benchmarks' order."""


def kind_of(agent: int) -> int:
    """``VEHICLE`` or ``INFRASTRUCTURE``, by an agent's id."""
    return INFRASTRUCTURE if agent < 0 else VEHICLE


def in_mode_order(agents: Iterable[int], mode: str) -> list[int]:
    """The agents that a mode has: the ego's kind first, each kind by id as a string."""
    kinds = MODES[mode][1]
    known = [int(agent) for agent in agents if kind_of(agent) in kinds]
    return sorted(known, key=lambda agent: (kinds.index(kind_of(agent)), str(agent)))
