"""Batches into tables, column by column: Python touches each value once, Arrow carries it to the engine. Spans that
are stored as they were sent are left to the engine whole."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from mappers.model import LogRecord, Span
from sinks.base import Batch, Insert, PermanentError, WrongStoreError
from sinks.clickhouse.absent import absent_logs, absent_spans
from sinks.clickhouse.attributes import text
from sinks.clickhouse.columns import (
    EVENTS,
    RUNS,
    TEXT,
    WARNINGS,
    arrow_array,
    column_arrays,
    map_array,
    times,
)
from sinks.clickhouse.errors import kind_of, translated
from sinks.clickhouse.store import Store, unseen_token

log = logging.getLogger(__name__)

SPAN_KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
STATUS_CODES = ("Unset", "Ok", "Error")


class ClickHouseSink:
    """A `Sink` into one store. Events are written before the runs that are derived from them, so that a run
    which can be seen has its events."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, batch: Batch) -> None:
        with translated():
            self._write_spans(batch)
            self._insert(batch, "otel_logs", batch.logs, _log_columns, batch.token)
            if batch.again:
                self._write_absent(batch)
            self._insert(batch, "run_events", batch.events, partial(column_arrays, EVENTS))
            self._insert(batch, "loop_warnings", batch.warnings, partial(column_arrays, WARNINGS))
            self._insert(batch, "runs", batch.runs, partial(column_arrays, RUNS))

    def _write_spans(self, batch: Batch) -> None:
        spans, token, sent = batch.spans, batch.token, batch.sent
        if sent is not None and sent.requests and self._store.reads_requests:
            try:
                with self._noted(batch, "trace_requests", len(sent.requests)) as insert:
                    insert.size = sum(map(len, sent.requests))
                    self._store.insert_requests(sent.requests, token, query_id=insert.query_id)
            except WrongStoreError:
                raise
            except PermanentError as error:
                log.warning(
                    "the engine does not read a request, so that its spans are decoded here: %s", error
                )
                spans = list(spans)
            else:
                spans, token = sent.rest, token and f"{token}-rest"
        self._insert(batch, "otel_traces", spans, _span_columns, token)

    def _write_absent(self, batch: Batch) -> None:
        """Writes what was dropped because of its token, and is not there."""
        spans, logs = absent_spans(self._store, list(batch.spans)), absent_logs(self._store, batch.logs)
        if spans or logs:
            log.warning(
                "of a batch that was being stored before, %d spans and %d log records were not there",
                len(spans),
                len(logs),
            )
        self._insert(batch, "otel_traces", spans, _span_columns, unseen_token())
        self._insert(batch, "otel_logs", logs, _log_columns, unseen_token())

    def close(self) -> None:
        """The store is closed by who opened it."""

    def _insert(
        self,
        batch: Batch,
        table: str,
        rows: Sequence[Any],
        columns_of: Callable[[Any], dict[str, Any]],
        token: str = "",
    ) -> None:
        if not rows:
            return
        with self._noted(batch, table, len(rows)) as insert:
            insert.size = self._store.insert_columns(table, columns_of(rows), token, query_id=insert.query_id)

    @contextmanager
    def _noted(self, batch: Batch, table: str, rows: int) -> Iterator[Insert]:
        """Notes in the batch how the insert goes that is made in the block."""
        insert = Insert(table, rows, time.time_ns(), query_id=self._store.new_query_id())
        batch.inserts.append(insert)
        try:
            yield insert
        except Exception as error:
            insert.error = kind_of(error)
            raise
        finally:
            insert.ended_ns = time.time_ns()


def _attributes(owners: Iterable[Any]) -> Any:
    """The attributes of spans, events, links, records, resources or scopes as a column."""
    offsets = [0]
    keys: list[str] = []
    items: list[str] = []
    for owner in owners:
        pairs = owner.attributes.items()
        keys += [key for key, _ in pairs]
        items += [value if value.__class__ is str else text(value) for _, value in pairs]
        offsets.append(len(keys))
    return map_array(offsets, keys, items)


class _Shared:
    """Columns of objects that many rows share, as the spans of a request share resource and scope: each object is
    written out once, and Arrow repeats it."""

    def __init__(self, objects: Iterable[Any]) -> None:
        import pyarrow as pa

        places: dict[int, int] = {}
        self._distinct: list[Any] = []
        indices = []
        for found in objects:
            place = places.get(id(found))
            if place is None:
                place = places[id(found)] = len(self._distinct)
                self._distinct.append(found)
            indices.append(place)
        self._indices = pa.array(indices, pa.int32())

    def texts(self, read: Callable[[Any], str]) -> Any:
        return arrow_array(TEXT, [read(one) for one in self._distinct]).take(self._indices)

    def attributes(self) -> Any:
        return _attributes(self._distinct).take(self._indices)


def _origin_columns(items: Sequence[Span] | Sequence[LogRecord]) -> dict[str, Any]:
    """Columns that spans and log records share."""
    resources, scopes = _Shared(item.resource for item in items), _Shared(item.scope for item in items)
    return {
        "TraceId": arrow_array(TEXT, [item.trace_id for item in items]),
        "SpanId": arrow_array(TEXT, [item.span_id for item in items]),
        "ServiceName": resources.texts(lambda resource: text(resource.attributes.get("service.name"))),
        "ResourceAttributes": resources.attributes(),
        "ScopeName": scopes.texts(lambda scope: scope.name),
        "ScopeVersion": scopes.texts(lambda scope: scope.version),
        "ScopeAttributes": scopes.attributes(),
        "Tenant": arrow_array(TEXT, [item.tenant for item in items]),
        "Project": arrow_array(TEXT, [item.project for item in items]),
    }


def _span_columns(spans: Sequence[Span]) -> dict[str, Any]:
    import pyarrow as pa

    columns = _origin_columns(spans) | {
        "Timestamp": times([span.start_ns for span in spans]),
        "ParentSpanId": arrow_array(TEXT, [span.parent_span_id for span in spans]),
        "TraceState": arrow_array(TEXT, [span.trace_state for span in spans]),
        "SpanName": arrow_array(TEXT, [span.name for span in spans]),
        "SpanKind": arrow_array(TEXT, [_named(SPAN_KINDS, span.kind) for span in spans]),
        "SpanAttributes": _attributes(spans),
        "Duration": pa.array([max(0, span.end_ns - span.start_ns) for span in spans], pa.uint64()),
        "StatusCode": arrow_array(TEXT, [_named(STATUS_CODES, span.status_code) for span in spans]),
        "StatusMessage": arrow_array(TEXT, [span.status_message for span in spans]),
    }
    events = [span.events for span in spans]
    flat_events = [event for each in events for event in each]
    columns |= {
        "Events.Timestamp": _nested(events, times([event.time_ns for event in flat_events])),
        "Events.Name": _nested(events, arrow_array(TEXT, [event.name for event in flat_events])),
        "Events.Attributes": _nested(events, _attributes(flat_events)),
    }
    links = [span.links for span in spans]
    flat_links = [link for each in links for link in each]
    return columns | {
        "Links.TraceId": _nested(links, arrow_array(TEXT, [link.trace_id for link in flat_links])),
        "Links.SpanId": _nested(links, arrow_array(TEXT, [link.span_id for link in flat_links])),
        "Links.TraceState": _nested(links, arrow_array(TEXT, [link.trace_state for link in flat_links])),
        "Links.Attributes": _nested(links, _attributes(flat_links)),
    }


def _log_columns(logs: Sequence[LogRecord]) -> dict[str, Any]:
    import pyarrow as pa

    return _origin_columns(logs) | {
        "Timestamp": times([record.time_ns or record.observed_ns for record in logs]),
        "TraceFlags": pa.array([record.flags & 0xFF for record in logs], pa.uint8()),
        "SeverityText": arrow_array(TEXT, [record.severity_text for record in logs]),
        "SeverityNumber": pa.array([min(max(record.severity_number, 0), 255) for record in logs], pa.uint8()),
        "Body": arrow_array(TEXT, [text(record.body) for record in logs]),
        "ResourceSchemaUrl": arrow_array(TEXT, [record.resource.schema_url for record in logs]),
        "ScopeSchemaUrl": arrow_array(TEXT, [record.scope.schema_url for record in logs]),
        "LogAttributes": _attributes(logs),
        "EventName": arrow_array(TEXT, [record.event_name for record in logs]),
        "RunId": arrow_array(TEXT, [record.run_id or record.trace_id for record in logs]),
    }


def _named(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else names[0]


def _nested(groups: Iterable[Sequence[Any]], flat: Any) -> Any:
    """One array for each row, of what lies flat in `flat`."""
    import pyarrow as pa

    offsets = [0]
    for group in groups:
        offsets.append(offsets[-1] + len(group))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
