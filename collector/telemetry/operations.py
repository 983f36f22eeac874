"""What the collector itself was busy with of late: how long requests and batches took, and which went wrong.

Of each kind of operation a few samples are kept for each class of latency, and the last ones that failed. A sample
holds numbers, the tenant and words of ours, never what was sent.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from collector.telemetry.telemetry import harmless

CLASSES_S = {
    "up to 1 ms": 0.001,
    "up to 10 ms": 0.01,
    "up to 100 ms": 0.1,
    "up to 1 s": 1.0,
    "up to 10 s": 10.0,
}
LONGER = "longer"
_BOUNDS_S = tuple(CLASSES_S.values())
SAMPLES, FAILURES = 4, 16
"""Kept of a class of latency, and of what failed; the newest."""

NOTHING: Mapping[str, Any] = {}

_Sample = tuple[float, float | None, Mapping[str, Any]]
"""When it ended, how many seconds it took, if that is known, and what is told of it."""


class Operation:
    """One kind of operation. May be told from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._samples: list[deque[_Sample]] = [deque(maxlen=SAMPLES) for _ in self._counts]
        self._failed = 0
        self._failures: deque[_Sample] = deque(maxlen=FAILURES)

    def took(self, seconds: float, told: Mapping[str, Any]) -> None:
        """One went well; `told` is kept as it is."""
        place = bisect_left(_BOUNDS_S, seconds)
        with self._lock:
            self._counts[place] += 1
            self._samples[place].append((time.time(), seconds, told))

    def failed(self, seconds: float | None, error: str, told: Mapping[str, Any] = NOTHING) -> None:
        """One did not; `error` says why, in words of ours."""
        with self._lock:
            self._failed += 1
            self._failures.append((time.time(), seconds, {**told, "error": harmless(error)}))

    def document(self) -> dict[str, Any]:
        with self._lock:
            counts, samples = [*self._counts], [[*some] for some in self._samples]
            failed, failures = self._failed, [*self._failures]
        return {
            "latency": {
                name: {"count": count, "samples": [_shown(sample) for sample in some]}
                for name, count, some in zip((*CLASSES_S, LONGER), counts, samples, strict=True)
                if count
            },
            "errors": {"count": failed, "samples": [_shown(sample) for sample in failures]},
        }


class Operations:
    """All kinds, by name. Names are the collector's own, so that there is an end to them."""

    def __init__(self) -> None:
        self._kinds: dict[str, Operation] = {}

    def of(self, name: str) -> Operation:
        found = self._kinds.get(name)
        return found if found is not None else self._kinds.setdefault(name, Operation())

    def document(self) -> dict[str, Any]:
        return {name: kind.document() for name, kind in sorted(dict(self._kinds).items())}


def _shown(sample: _Sample) -> dict[str, Any]:
    ended_s, seconds, told = sample
    ended = datetime.fromtimestamp(ended_s, UTC).isoformat(timespec="milliseconds")
    took = {} if seconds is None else {"ms": round(seconds * 1000, 3)}
    return {"ended": ended, **took, **told}
