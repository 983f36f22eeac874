"""The second half of a pipeline: brings a batch into the store, without what the store will never take.

A row that it refuses is found by halving, and the item that it comes from is kept aside (`deadletter`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

from collector.journal import Cursor, Readable, Record
from collector.otlp.cut import count, cut
from collector.pipeline.batches import Gathered, Item, Prepared, read_again
from collector.pipeline.deadletter import DeadLetters, Letter
from collector.pipeline.isolation import unfit
from collector.pipeline.patience import Patience
from collector.telemetry.operations import Doing, Step
from collector.telemetry.telemetry import about
from mappers.model import Event, LogRecord, Run, Span, Warning
from sinks.base import Batch, PermanentError, Sink, WrongStoreError

log = logging.getLogger(__name__)

MOST_FAILED_STEPS = 16
"""Told of a batch."""


class Storing(Generic[Item]):
    """Stores batches of one journal. Used from one thread."""

    def __init__(
        self,
        journal: Readable,
        sink: Sink,
        dead_letters: DeadLetters,
        *,
        signal: str,
        cursor: Cursor,
        patience: Patience,
    ) -> None:
        self._journal = journal
        self._sink = sink
        self._dead_letters = dead_letters
        self._signal = signal
        self._cursor = cursor
        self._patience = patience
        self.written: list[Callable[[Batch, float], None]] = []
        """Told of each batch that was stored and how long that took."""
        self.rows_dropped = 0
        """Derived rows that the store would not take."""

    def store(self, gathered: Gathered[Item], prepared: Prepared) -> int:
        """Stores the batch; returns how many items were kept aside because the store will never take them."""
        began = time.monotonic()
        set_aside = 0
        prepared.batch.inserts.clear()
        if prepared.is_complete:
            prepared.batch.again = True
        else:
            with gathered.doing.step("complete"):
                prepared.before_write()
            prepared.is_complete = True
            with gathered.doing.step("begin the cursor"):
                self._patience.note(partial(self._cursor.begin, gathered.end, gathered.ahead))
        try:
            self._sink.write(prepared.batch)
        except WrongStoreError:
            raise
        except PermanentError as error:
            log.warning("%s: a batch is taken apart: %s", self._signal, error)
            with gathered.doing.step("take apart"):
                set_aside = self._set_aside(gathered, prepared)
            self._sink.write(replace(prepared.batch, token=""))
        finally:
            _note_inserts(prepared.batch, gathered.doing)
        for tell in self.written:
            tell(prepared.batch, time.monotonic() - began)
        return set_aside

    def _set_aside(self, gathered: Gathered[Item], prepared: Prepared) -> int:
        """Takes out of the batch what the store will never take, and keeps the items that it comes from."""
        batch, write = prepared.batch, self._sink.write
        batch.spans, batch.sent = list(batch.spans), None  # a request can not be taken apart
        reasons: dict[int, str] = {}
        reasons.update(unfit(lambda spans: write(Batch(spans=spans)), batch.spans))
        reasons.update(unfit(lambda logs: write(Batch(logs=logs)), batch.logs))
        bad_events = dict(unfit(lambda events: write(Batch(events=events)), batch.events))
        places: dict[tuple[str, str], list[int]] = {}
        items: list[Span | LogRecord] = [*batch.spans, *batch.logs]
        for place, item in enumerate(items):
            places.setdefault((item.trace_id, item.span_id), []).append(place)
        for number, reason in bad_events.items():
            event = batch.events[number]
            found = places.get((event.trace_id, event.span_id), ())
            for place in found:
                reasons.setdefault(place, reason)
            if not found:
                self._drop(event, reason)
        if reasons:
            self._dead_letters.keep(self._letters(gathered, reasons))
        gone = {(items[place].trace_id, items[place].span_id) for place in reasons if items[place].span_id}
        kept_events = [
            event
            for number, event in enumerate(batch.events)
            if number not in bad_events and (event.trace_id, event.span_id) not in gone
        ]
        prepared.discard([event for event in batch.events if (event.trace_id, event.span_id) in gone])
        batch.events = kept_events
        batch.spans = [span for place, span in enumerate(batch.spans) if place not in reasons]
        batch.logs = [record for place, record in enumerate(batch.logs) if place not in reasons]
        bad_runs = dict(unfit(lambda runs: write(Batch(runs=runs)), batch.runs))
        bad_warnings = dict(unfit(lambda warnings: write(Batch(warnings=warnings)), batch.warnings))
        for place, reason in bad_runs.items():
            self._drop(batch.runs[place], reason)
        for place, reason in bad_warnings.items():
            self._drop(batch.warnings[place], reason)
        batch.runs = _without(batch.runs, bad_runs)
        batch.warnings = _without(batch.warnings, bad_warnings)
        return len(reasons)

    def _drop(self, row: Event | Run | Warning, reason: str) -> None:
        self.rows_dropped += 1
        log.error(
            "%s: a derived row is not stored: %s",
            self._signal,
            reason,
            extra=about(row.tenant, row.run_id),
        )

    def _letters(self, gathered: Gathered[Item], reasons: dict[int, str]) -> list[Letter]:
        """The items at these places of the batch, cut out of the requests that they came in."""
        letters = []
        first = 0
        for record in read_again(self._journal, gathered):
            beyond = first + count(record.body)
            wanted = [place for place in reasons if first <= place < beyond]
            for place in wanted:
                header = replace(record.header, items=1)
                part = Record(record.sequence, header, cut(record.body, [place - first]))
                letters.append(Letter(part, self._signal, reasons[place], "unstorable"))
            first = beyond
        return letters


def _note_inserts(batch: Batch, doing: Doing) -> None:
    """Inserts of one try are steps. A store that is away is tried without end: only the newest of those are kept."""
    for insert in batch.inserts:
        told = {
            "db.system.name": "clickhouse",
            "db.operation.name": "INSERT",
            "db.collection.name": insert.table,
            "db.operation.batch.size": insert.rows,
            "bytes": insert.size,
            "clickhouse.query_id": insert.query_id,
        }
        name = f"INSERT {insert.table}"
        doing.steps.append(Step(name, insert.began_ns, insert.ended_ns, told, insert.error))
    failed = [step for step in doing.steps if step.error]
    for step in failed[:-MOST_FAILED_STEPS]:
        doing.steps.remove(step)


DerivedRow = TypeVar("DerivedRow", Run, Warning)


def _without(rows: Sequence[DerivedRow], places: dict[int, str]) -> Sequence[DerivedRow]:
    return [row for place, row in enumerate(rows) if place not in places]
