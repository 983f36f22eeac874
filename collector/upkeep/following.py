"""What other collectors on the same store changed: deletions and settings, taken over every few seconds.

Of several collectors one is asked to delete or to change a setting. The others see it in the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from collector.process.repeating import Repeating
from sinks.base import SinkError

log = logging.getLogger(__name__)

EVERY_S = 2.0


class Following(Repeating):
    """Looks at one after the other.

    Args:
        steps: what is looked at, by its name. A step that fails is tried again the next time.
    """

    def __init__(self, steps: Mapping[str, Callable[[], object]], every_s: float = EVERY_S) -> None:
        super().__init__("following", every_s)
        self._steps = steps
        self._failing: set[str] = set()

    def look(self) -> None:
        """Takes over what has changed."""
        for name, step in self._steps.items():
            try:
                step()
                self._failing.discard(name)
            except SinkError as error:
                if name not in self._failing:  # a store that is away is told of once
                    log.warning("%s of other collectors are taken over later: %s", name, error)
                self._failing.add(name)
            except Exception:
                log.exception("%s of other collectors are not taken over", name)
