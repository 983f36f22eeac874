"""What other collectors on the same store changed: deletions and settings, taken over every few seconds.

Of several collectors one is asked to delete or to change a setting. The others see it in the store.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from sinks.base import SinkError

log = logging.getLogger(__name__)

EVERY_S = 2.0


class Following:
    """Looks, in a thread of its own.

    Args:
        steps: what is looked at, by its name. A step that fails is tried again the next time.
    """

    def __init__(self, steps: Mapping[str, Callable[[], object]], every_s: float = EVERY_S) -> None:
        self._steps = steps
        self._every_s = every_s
        self._failing: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="following")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

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

    def _work(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.look()
