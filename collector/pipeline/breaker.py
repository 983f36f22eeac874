"""A circuit breaker: while the store is away it is asked now and then, by one at a time, and not by everybody."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

FAILURES_TO_OPEN = 5
PROBE_S = (1.0, 5.0)
"""While open, the next try comes after a time drawn from this range."""


class Breaker:
    """Shared by all who use one store. Closed: everybody may try. After failures in a row it opens: one try at a
    time, and never more than one a second. A success closes it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._next_probe = 0.0
        self.failures = 0
        """In a row."""

    @property
    def is_open(self) -> bool:
        return self.failures >= FAILURES_TO_OPEN

    def wait_s(self) -> float:
        """0: try now, and say how it went. Else how many seconds to wait before asking again."""
        with self._lock:
            now = self._clock()
            if not self.is_open:
                return 0.0
            if now < self._next_probe:
                return self._next_probe - now
            self._next_probe = now + random.uniform(*PROBE_S)  # noqa: S311  # jitter
            return 0.0

    def succeeded(self) -> None:
        with self._lock:
            self.failures = 0

    def failed(self) -> None:
        with self._lock:
            self.failures += 1
            if self.is_open:
                self._next_probe = self._clock() + random.uniform(*PROBE_S)  # noqa: S311  # jitter
