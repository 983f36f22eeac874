"""When runs that were touched are settled anew: at once, unless that took too large a share of the time.

Settling a run takes time in proportion to its events. A run of 10,000 spans that comes span by span would be settled
10,000 times, each time for longer; what a reader sees of it may be a second old instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

SHARE = 0.5
"""Of the time, what settling one run takes at most while there is nothing else to do."""
PRESSED_SHARE = 0.1
"""Of the time, what settling takes of all runs together while there is."""
LONGEST_S = 1.0
"""How old what is shown of a run may be, as long as all that wait can be settled in half that time."""

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took to settle a run the last time."""

    at_s: float = float("-inf")
    """When, by the clock of the pace."""
    took_s: float = 0.0


class Pace:
    """Spreads the settling of runs over time.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now_s = clock

    def due(self, waiting: Mapping[Key, Cost], *, pressed: bool) -> list[Key]:
        """Those of the runs that wait which may be settled now. `pressed`: there is more to do than that."""
        now_s = self.now_s()
        return [key for key, due_s in _times(waiting, pressed=pressed) if due_s <= now_s]

    def next_due_s(self, waiting: Mapping[Key, Cost]) -> float:
        """From when on one of the runs that wait may be settled if there is nothing else to do."""
        return min([due_s for _, due_s in _times(waiting, pressed=False)], default=float("inf"))


def _times(waiting: Mapping[Key, Cost], *, pressed: bool) -> list[tuple[Key, float]]:
    longest_s = max(LONGEST_S, 2 * sum([cost.took_s for cost in waiting.values()]))
    factor = len(waiting) / PRESSED_SHARE if pressed else 1 / SHARE
    return [(key, cost.at_s + min(cost.took_s * factor, longest_s)) for key, cost in waiting.items()]
