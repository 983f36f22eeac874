"""Which raw rows of a batch are not in the store, although they were, or may have been, written to it.

An engine notes a deduplication token before the part that came with it is in place. If it is killed in between, the
token says that the rows are there, and they are not: what comes again under the token is dropped. So does the checksum
of a block's rows, by which it knows what comes without a token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mappers.model import LogRecord, Span
from sinks.clickhouse.columns import clamped
from sinks.clickhouse.store import Store

Item = TypeVar("Item", Span, LogRecord)
Key = tuple[str, int, str, str]
"""(tenant, time in ns as it is stored, trace id, span id)"""
AT_A_TIME = 1_000
"""Traces that are asked for in one query."""


def absent_spans(store: Store, spans: Sequence[Span]) -> list[Span]:
    """Those of which there is no row.

    Raises: SinkError.
    """
    keys = _keys(spans, [span.start_ns for span in spans])
    return _absent(store, "otel_traces", "1", spans, keys, dict.fromkeys(keys, 1))


def absent_logs(store: Store, logs: Sequence[LogRecord]) -> list[LogRecord]:
    """Those of which there may be no row: of records of one span and one time all, if there are fewer rows than
    records.

    Raises: SinkError.
    """
    keys = _keys(logs, [record.time_ns or record.observed_ns for record in logs])
    return _absent(store, "otel_logs", "uniqExact(RowHash)", logs, keys, Counter(keys))


def _keys(items: Sequence[Item], moments: Sequence[int]) -> list[Key]:
    return [
        (item.tenant, moment, item.trace_id, item.span_id)
        for item, moment in zip(items, clamped(moments), strict=True)
    ]


def _absent(
    store: Store,
    table: str,
    count: str,
    items: Sequence[Item],
    keys: Sequence[Key],
    expected: Mapping[Key, int],
) -> list[Item]:
    """Items of whose keys there are fewer rows than expected. `count` says in SQL how many rows there are of a key."""
    moments = [moment for _, moment, _, _ in keys]
    traces = list(dict.fromkeys(item.trace_id for item in items))
    stored: dict[Key, int] = {}
    for begin in range(0, len(traces), AT_A_TIME):
        found = store.query(
            f"""
            SELECT Tenant, toUnixTimestamp64Nano(Timestamp), TraceId, SpanId, {count} FROM otel.{table}
            WHERE TraceId IN {{traces:Array(String)}}
                AND Timestamp >= fromUnixTimestamp64Nano({{first:Int64}}, 'UTC')
                AND Timestamp <= fromUnixTimestamp64Nano({{last:Int64}}, 'UTC')
            GROUP BY Tenant, Timestamp, TraceId, SpanId
            """,
            {"traces": traces[begin : begin + AT_A_TIME], "first": min(moments), "last": max(moments)},
        )
        stored |= {(tenant, moment, trace, span): rows for tenant, moment, trace, span, rows in found}
    return [item for item, key in zip(items, keys, strict=True) if stored.get(key, 0) < expected[key]]
