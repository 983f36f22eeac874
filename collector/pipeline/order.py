"""The one order in which the batches of several journals are derived and stored.

Spans and log records come through journals of their own and meet in the same runs. A run's row must never be
replaced by an older state of it, so whatever is derived later is stored later.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class WriteOrder:
    """Numbers batches from 1 and lets them be stored in that order. Shared by all pipelines of one deriver."""

    def __init__(self) -> None:
        self._deriving = threading.Lock()
        self._advanced = threading.Condition()
        self._given = 0
        self._stored = 0

    @property
    def stored(self) -> int:
        """Number of the newest batch that is stored; all before it are."""
        return self._stored

    @contextmanager
    def next_batch(self) -> Iterator[int]:
        """Holds everybody else off while a batch is derived; gives its number."""
        with self._deriving:
            self._given += 1
            yield self._given

    def await_turn(self, number: int, timeout: float) -> bool:
        """Whether all batches before this one are stored, after at most `timeout` seconds."""
        with self._advanced:
            return self._advanced.wait_for(lambda: self._stored == number - 1, timeout)

    def advance(self, number: int) -> None:
        """The batch is stored."""
        with self._advanced:
            self._stored = number
            self._advanced.notify_all()
