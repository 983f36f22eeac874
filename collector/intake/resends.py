"""Requests that were taken a moment ago, byte for byte: exporters send a batch again when an answer got lost."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

KEPT_S = 600.0
MOST = 100_000

Answer = TypeVar("Answer")


class Resends(Generic[Answer]):
    """Answers of the last ten minutes by what was asked. A request is only remembered once it is safe, so that
    one which was not can never be answered from here."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()

    @staticmethod
    def key(body: bytes, *context: str) -> bytes:
        """Of a request as it came off the wire, and all that decides what becomes of it, in this process only."""
        # Python's own hash, SipHash with a key of the process, takes 0.4 of SHA-1's time. It also keeps Python's lock:
        # to get that back costs a request more than the hash while batches are worked on.
        return b"".join(number.to_bytes(8, signed=True) for number in (hash(body), len(body), hash(context)))

    def answer(self, key: bytes) -> Answer | None:
        """What was answered, if it was taken in the last ten minutes."""
        with self._lock:
            found = self._answers.get(key)
            return found[1] if found and self._clock() - found[0] < KEPT_S else None

    def remember(self, key: bytes, answer: Answer) -> None:
        with self._lock:
            self._answers[key] = self._clock(), answer
            self._answers.move_to_end(key)
            oldest = next(iter(self._answers))
            if len(self._answers) > MOST or self._clock() - self._answers[oldest][0] >= KEPT_S:
                del self._answers[oldest]
