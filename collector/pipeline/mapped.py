"""Records → spans → events: the first half of what happens to a batch of spans, wherever it happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from collector.journal import Record
from collector.otlp import parse_traces, spans_of
from collector.pipeline.clocks import settle_times
from collector.pipeline.redaction import Redaction
from collector.pipeline.sent import Received, read_again
from collector.pipeline.undecoded import Undecoded
from mappers.model import DEFAULT_PROJECT, Event, LogRecord, Resource, Span
from mappers.normalize import Normalizer
from mappers.project import project_of
from sinks.base import Sent

Item_co = TypeVar("Item_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Mapped(Generic[Item_co]):
    """What one batch is made of, and what it means."""

    items: Sequence[Item_co]
    """Redacted."""
    events: Sequence[Event]
    """Of spans one each, in their order."""
    sent: Sent | None = None


SetAside = Callable[[Record, str], None]
"""Told of a record that can not be decoded, and why."""


class Finish(Protocol[Item_co]):
    """Waits for what is being mapped elsewhere. None if the collector stops first.

    Args:
        again: reads those records that are not set aside once more, as long as the batch is not stored.
    """

    def __call__(
        self, set_aside: SetAside, again: Callable[[], Iterable[Record]], stopping: threading.Event
    ) -> Mapped[Item_co] | None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of records, one by one."""

    faults: Sequence[str]
    """Why each record can not be decoded; "" if it can."""
    requests: Sequence[bytes | None]
    """Each as a sink can read it by itself; None if its spans can not be told so, or there are none."""
    events: Sequence[Event]
    """Of all spans, in their order."""


class SpanMapper:
    """Decodes, redacts and maps. Used from one thread.

    Args:
        redaction: of this mapper alone.
        keep_sent: whether the sink reads requests by itself.
    """

    def __init__(self, normalizer: Normalizer, redaction: Redaction, *, keep_sent: bool) -> None:
        self._received = Received() if keep_sent else None
        self._normalize = normalizer.normalize
        self._redaction = redaction

    def decode(self, record: Record) -> Sequence[Span]:
        """The spans of a record, which the next `map` is to be given.

        Raises:
            ValueError: it can not be decoded.
        """
        request, spans, is_changed = _decoded(record)
        self._redaction.saw(record.body, spans)
        if self._received is not None:
            self._received.add(None if is_changed else request, spans)
        return spans

    def map(self, spans: Sequence[Span]) -> Mapped[Span]:
        """All that was decoded since the last time."""
        changed = self._redaction.mask()
        sent = self._received.take(changed) if self._received is not None else None
        events = self._events(spans)
        if sent is not None and not sent.rest:
            return Mapped(Undecoded(events, partial(read_again, sent.requests)), events, sent)
        return Mapped(spans, events, sent)

    def each(self, records: Sequence[Record]) -> Outcome:
        """Decodes records and maps them, all together; forgets what was decoded before."""
        self._redaction.forget()
        received = self._received = Received()
        faults, spans = [], list[Span]()
        for record in records:
            try:
                spans += self.decode(record)
                faults.append("")
            except Exception as error:
                faults.append(str(error) or type(error).__name__)
        bodies = iter(received.labelled(self._redaction.mask()))
        return Outcome(faults, [None if fault else next(bodies) for fault in faults], self._events(spans))

    def _events(self, spans: Sequence[Span]) -> list[Event]:
        normalize = self._normalize
        events = [normalize(span) for span in spans]
        self._redaction.hide(spans, events)
        return events


def redacted(records: Iterable[Record], redaction: Redaction) -> list[Span]:
    """The spans of records as they may be stored, without asking what they mean.

    Raises:
        ValueError: one can not be decoded.
    """
    found: list[Span] = []
    for record in records:
        _, spans, _ = _decoded(record)
        redaction.saw(record.body, spans)
        found += spans
    redaction.mask()
    redaction.hide(found, ())
    return found


def _decoded(record: Record) -> tuple[Any, list[Span], bool]:
    """(the request, its spans, whether these say something else than it).

    Raises:
        ValueError: it can not be decoded.
    """
    request = parse_traces(record.body)
    spans = spans_of(request)
    label(spans, record)
    return request, spans, settle_times(spans, record.header.received_ns)


def label(items: Sequence[Span] | Sequence[LogRecord], record: Record) -> None:
    """Sets tenant and project: the request's project if it named one, else the resource's, else the default."""
    header = record.header
    resource: Resource | None = None
    project = DEFAULT_PROJECT
    for item in items:
        if item.resource is not resource:
            resource = item.resource
            project = header.project or project_of(resource) or DEFAULT_PROJECT
        item.tenant = header.tenant
        item.project = project
