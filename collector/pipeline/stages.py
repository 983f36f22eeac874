"""What happens to each signal between the journal and the sink: spans, and log records that
tell of calls, become events and runs; all are kept as received."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from collector.deriver.derived import Derived, Tell
from collector.deriver.deriver import Deriver
from collector.deriver.recent import EventKey
from collector.journal import Record
from collector.otlp import decode_logs
from collector.pipeline.batches import Ahead, Prepared
from collector.pipeline.flow import Flow
from collector.pipeline.mapped import Mapped, SpanMapper, label
from collector.pipeline.redaction import Redaction
from collector.pipeline.tombstones import Tombstones, record_key, span_keys
from mappers.model import Event, LogRecord, Span
from mappers.records import RecordReader
from sinks.base import Batch, RunKey


@dataclass(slots=True)
class Totals:
    """What is stored, exact after de-duplication."""

    spans: int = 0
    events: int = 0
    runs: int = 0


class RowStore(Protocol):
    """The part of a store's reader that the derivation needs."""

    def event_rows(self, tenant: str, run_id: str, keys: Sequence[EventKey]) -> Sequence[Event]:
        """Stored events with their content."""


SETTLED = ("duplicate_of", "handoff_from", "handoff_to", "handoff_source", "handoff_told", "filled")
"""Fields of an event that its run decides, besides those that are filled in."""


class Derivation:
    """Events → runs, of both signals. `totals` is kept up to date as batches are stored.

    Args:
        tell: called with warnings once they are stored.
        tombstones: of runs that are derived no more.
    """

    def __init__(
        self,
        deriver: Deriver,
        rows: RowStore,
        totals: Totals,
        tell: Tell = lambda warnings, runs, before: None,
        tombstones: Tombstones | None = None,
    ) -> None:
        self._deriver = deriver
        self._tell = tell
        self._rows = rows
        self._totals = totals
        self._tombstones = tombstones or Tombstones()
        self.due_in_s = deriver.due_in_s
        self.hurry = deriver.hurry

    def prepare(
        self,
        batch: Batch,
        events: Sequence[Event],
        stored_hook: Callable[[Derived], None],
        *,
        number: int,
        stored: int,
        pressed: bool,
        items: int,
        again: Collection[RunKey] = (),
        overtaken: bool = False,
    ) -> Prepared:
        """The batch with its settled events and their runs, and with the runs that are to be settled `again`.
        `stored_hook` is called once it is stored; `overtaken` says that what came later may be stored already."""
        if len(self._tombstones):
            batch.refused |= self._tombstones.among((event.tenant, event.run_id) for event in events)
            events = [event for event in events if (event.tenant, event.run_id) not in batch.refused]
        derived = self._deriver.derive(
            events, batch=number, stored=stored, again=again, pressed=pressed, overtaken=overtaken
        )
        batch.events, batch.runs, batch.warnings = derived.events, derived.runs, derived.warnings
        batch.outdated = {
            (event.tenant, event.trace_id, event.span_id, event.end_ns) for event in derived.outdated
        }

        def add_resettled() -> None:
            batch.events = derived.events + self.rewritten(derived.resettled)

        def count() -> None:
            for key in batch.refused:  # deleted since then
                derived.new.pop(key, None)
            self._totals.spans += derived.new_spans
            self._totals.events += derived.new_events
            self._totals.runs += derived.new_runs
            stored_hook(derived)
            if derived.warnings:
                self._tell(derived.warnings, derived.runs, derived.before)

        def discard(lost: Sequence[Event]) -> None:
            self._totals.spans -= sum(event.seq == 0 for event in lost)
            self._totals.events -= len(lost)
            self._deriver.discard(lost)

        return Prepared(number, batch, add_resettled, count, discard, items)

    def deleted(self, keys: Collection[RunKey], spans: int, events: int, runs: int) -> None:
        """Runs that are no more, and what they were in the totals."""
        self._deriver.forget(keys)
        self._totals.spans -= spans
        self._totals.events -= events
        self._totals.runs -= runs

    def rewritten(self, events: Sequence[Event]) -> list[Event]:
        """The stored rows of these events, with what their runs now say of them."""
        by_run: dict[tuple[str, str], dict[EventKey, Event]] = {}
        for event in events:
            by_run.setdefault((event.tenant, event.run_id), {})[event.span_id, event.seq] = event
        rows: list[Event] = []
        for (tenant, run_id), settled in by_run.items():
            for row in self._rows.event_rows(tenant, run_id, list(settled)):
                event = settled[row.span_id, row.seq]
                for name in {*SETTLED, *row.filled, *event.filled}:
                    setattr(row, name, getattr(event, name))
                rows.append(row)
        return rows


class TraceStage:
    """Spans → events → batches. `flow` is kept up to date as batches are stored.

    Args:
        ahead: has them mapped elsewhere while more is waiting, if there is somewhere.
    """

    def __init__(
        self, mapper: SpanMapper, derivation: Derivation, flow: Flow, ahead: Ahead[Span] | None = None
    ) -> None:
        self._derivation = derivation
        self._flow = flow
        self.ahead = ahead
        self.decode = mapper.decode
        self.map = mapper.map
        self.due_in_s = derivation.due_in_s
        self.hurry = derivation.hurry
        self.mapped: list[Callable[[Sequence[Event]], None]] = []
        """Told of events as they were read. Must neither fail nor wait."""

    def prepare(
        self, mapped: Mapped[Span], *, number: int, stored: int, pressed: bool, overtaken: bool
    ) -> Prepared:
        spans = mapped.items
        for tell in self.mapped:
            tell(mapped.events)
        batch = Batch(spans=spans, sent=mapped.sent)

        def count(derived: Derived) -> None:
            refused = sum(key in batch.refused for key in span_keys(spans)) if batch.refused else 0
            self._flow.stored += derived.new_spans
            self._flow.filtered += refused
            self._flow.duplicates += len(spans) - derived.new_spans - refused

        return self._derivation.prepare(
            batch,
            mapped.events,
            count,
            number=number,
            stored=stored,
            pressed=pressed,
            overtaken=overtaken,
            items=len(spans),
        )


class LogStage:
    """Log records, kept as they are; those that tell of calls → events."""

    def __init__(
        self, reader: RecordReader, redaction: Redaction, derivation: Derivation, flow: Flow
    ) -> None:
        self._reader = reader
        self._redaction = redaction
        self._derivation = derivation
        self._flow = flow
        self.ahead = None
        self.due_in_s = derivation.due_in_s
        self.hurry = derivation.hurry
        self.mapped: list[Callable[[Sequence[Event]], None]] = []
        """Told of events as they were read. Must neither fail nor wait."""

    def decode(self, record: Record) -> Sequence[LogRecord]:
        logs = decode_logs(record.body)
        label(logs, record)
        self._redaction.saw(record.body, logs)
        return logs

    def map(self, items: Sequence[LogRecord]) -> Mapped[LogRecord]:
        self._redaction.mask()
        events = list(filter(None, map(self._event, items)))
        self._redaction.hide(items, events)
        return Mapped(items, events)

    def prepare(
        self, mapped: Mapped[LogRecord], *, number: int, stored: int, pressed: bool, overtaken: bool
    ) -> Prepared:
        items = mapped.items
        for tell in self.mapped:
            tell(mapped.events)
        batch = Batch(logs=items)

        def count(_: Derived) -> None:
            refused = sum(record_key(record) in batch.refused for record in items) if batch.refused else 0
            self._flow.stored += len(items) - refused
            self._flow.filtered += refused

        return self._derivation.prepare(
            batch,
            mapped.events,
            count,
            number=number,
            stored=stored,
            pressed=pressed,
            overtaken=overtaken,
            items=len(items),
        )

    def _event(self, record: LogRecord) -> Event | None:
        event = self._reader.event(record)
        record.run_id = event.run_id if event is not None else self._reader.run_of(record)
        return event
