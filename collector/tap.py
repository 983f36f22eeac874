"""Samples of what passes a point of the data's way, for whoever wants to look. Nobody waits for it.

While nobody looks, a point costs one comparison. A tap takes at most so many samples in each interval, holds at most
1 MiB of them, and says how many it left out.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from typing import Any

from collector.journal import Header
from collector.plain import plain
from mappers.model import Event
from sinks.base import Batch

log = logging.getLogger(__name__)

MOST_TAPS = 8
MAX_HELD_BYTES = 1 << 20
MAX_CHARS = 500
"""Of a text in a sample."""
MAX_PARTS = 50
"""Of a list or a map in a sample."""


class Point(StrEnum):
    """Where the data is looked at."""

    RECEIVER = "receiver"
    """Requests once they are safe in the journal."""
    MAPPER = "mapper"
    """Events as they were read from spans and log records, before their run is known."""
    SINK = "sink"
    """Rows once they are stored."""


class TooManyTapsError(Exception):
    """As many look already as may."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request at the receiver, as it came: it must be redacted before anybody sees it."""

    signal: str
    header: Header
    body: bytes


Sample = Arrival | dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """What a tap wants to see.

    Args:
        tenant: the only one whose data is shown; None for all.
        own_project: the only one of the caller; "" for all.
        project, name: patterns with `*`.
        limit: samples in each interval of `interval_s` seconds.
    """

    point: Point
    tenant: str | None = None
    own_project: str = ""
    project: str = "*"
    name: str = "*"
    limit: int = 100
    interval_s: float = 0.5
    _project: re.Pattern[str] = field(init=False, repr=False)
    _name: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_project", re.compile(translate(self.project)))
        object.__setattr__(self, "_name", re.compile(translate(self.name)))

    def shows(self, item: Any) -> bool:
        """Whether this span, event, row … is to be seen."""
        return (
            self.tenant in (None, item.tenant)
            and self.own_project in ("", item.project)
            and self._project.match(item.project) is not None
            and self._name.match(getattr(item, "name", "")) is not None
        )

    def may_show(self, header: Header) -> bool:
        """Whether there may be something to be seen in this request; without a project of its own, its resources say
        which it is."""
        return self.tenant in (None, header.tenant) and (
            not header.project
            or (self.own_project in ("", header.project) and self._project.match(header.project) is not None)
        )


class Tap:
    """What one who looks has not taken yet."""

    def __init__(self, view: View, clock: Callable[[], float] = time.monotonic) -> None:
        self.view = view
        self.closed = threading.Event()
        self._clock = clock
        self._lock = threading.Lock()
        self._held: deque[tuple[int, Sample]] = deque()
        self._held_bytes = 0
        self._skipped = 0
        self._window = 0.0
        self._in_window = 0

    def choose(self, found: Sequence[Any]) -> Sequence[Any]:
        """Those of what is to be seen that there is room for in this interval, from all over it; counts the others."""
        with self._lock:
            now = self._clock()
            if now - self._window >= self.view.interval_s:
                self._window, self._in_window = now, 0
            room = min(len(found), self.view.limit - self._in_window)
            self._in_window += room
            self._skipped += len(found) - room
        return [found[place * len(found) // room] for place in range(room)]

    def put(self, sample: Sample, size: int) -> None:
        """Holds a sample of so many bytes, unless too much is held already; then it is counted."""
        with self._lock:
            if self._held_bytes + size > MAX_HELD_BYTES:
                self._skipped += 1
                return
            self._held.append((size, sample))
            self._held_bytes += size

    def take(self) -> tuple[list[Sample], int]:
        """The samples since the last time, and how many were left out."""
        with self._lock:
            samples = [sample for _, sample in self._held]
            self._held.clear()
            self._held_bytes = 0
            skipped, self._skipped = self._skipped, 0
        return samples, skipped


class Taps:
    """All who look. The points tell it what passes; that never fails and never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: tuple[Tap, ...] = ()
        self._ended = False

    def open(self, view: View) -> Tap:
        """Raises: TooManyTapsError."""
        with self._lock:
            if self._ended or len(self._open) >= MOST_TAPS:
                raise TooManyTapsError
            tap = Tap(view)
            self._open += (tap,)
        return tap

    def close(self, tap: Tap) -> None:
        with self._lock:
            self._open = tuple(other for other in self._open if other is not tap)
        tap.closed.set()

    def end(self) -> None:
        """Closes them all, for good."""
        with self._lock:
            closing, self._open, self._ended = self._open, (), True
        for tap in closing:
            tap.closed.set()

    # ------------------------------------------------------------------- the points

    def received(self, signal: str, header: Header, body: bytes) -> None:
        """A request is in the journal."""
        for tap in self._at(Point.RECEIVER):
            if tap.view.may_show(header):
                for arrival in tap.choose([Arrival(signal, header, body)]):
                    tap.put(arrival, len(body) or 1)

    def mapped(self, signal: str, events: Sequence[Event]) -> None:
        """Events were read."""
        for tap in self._at(Point.MAPPER):
            self._put(tap, {"signal": signal}, "event", events)

    def written(self, signal: str, batch: Batch, seconds: float) -> None:
        """A batch is stored, which took so long."""
        for tap in self._at(Point.SINK):
            for table, rows in (
                ("otel_traces", batch.spans),
                ("otel_logs", batch.logs),
                ("run_events", batch.events),
                ("runs", batch.runs),
                ("loop_warnings", batch.warnings),
            ):
                where = {"signal": signal, "table": table, "stored_in_ms": round(seconds * 1000, 1)}
                self._put(tap, where, "row", rows)

    def _at(self, point: Point) -> Iterable[Tap]:
        return [tap for tap in self._open if tap.view.point is point] if self._open else ()

    def _put(self, tap: Tap, where: dict[str, Any], word: str, things: Sequence[Any]) -> None:
        try:
            for thing in tap.choose([thing for thing in things if tap.view.shows(thing)]):
                # Written out at once: what passes here is changed on its way.
                document = plain(thing, max_chars=MAX_CHARS, max_parts=MAX_PARTS)
                tap.put({**where, word: document}, len(repr(document)))
        except Exception:
            log.exception("a sample can not be shown")
