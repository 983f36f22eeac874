"""All that was received of a run, however much that is: read in pages, so that little of it is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mappers.model import Run
from sinks.clickhouse.queries.base import Queries, hours, within
from sinks.clickhouse.queries.records import RECORD_FIELDS
from sinks.clickhouse.queries.spans import SPAN_FIELDS

PAGE = 1000

_RECORD_FIELDS = (*RECORD_FIELDS, ("hash", "RowHash"))


class WholeQueries(Queries):
    def every_span(self, run: Run) -> Iterator[dict[str, Any]]:
        """The run's spans by time, as `SpanQueries.spans` gives them."""
        names = [name for name, _ in SPAN_FIELDS]
        after: tuple[int, str] = (-1, "")
        while True:
            rows = self._store.query(
                f"""
                SELECT {", ".join(expression for _, expression in SPAN_FIELDS)} FROM
                (
                    SELECT * FROM otel.otel_traces
                    WHERE Tenant = {{tenant:String}} AND TraceId = {{run:String}} AND {within("Timestamp")}
                        AND (toUnixTimestamp64Nano(Timestamp), SpanId) > ({{after_ns:Int64}}, {{after_id:String}})
                    ORDER BY Timestamp, SpanId, IngestedAt DESC LIMIT 1 BY Timestamp, SpanId
                    LIMIT {PAGE}
                )
                """,
                {
                    "tenant": run.tenant,
                    "run": run.run_id,
                    "after_ns": after[0],
                    "after_id": after[1],
                    **hours(run),
                },
            )
            for row in rows:
                yield dict(zip(names, row, strict=True))
            if len(rows) < PAGE:
                return
            last = dict(zip(names, rows[-1], strict=True))
            after = last["start_ns"], last["span_id"]

    def every_record(self, run: Run) -> Iterator[dict[str, Any]]:
        """The run's log records by time: the columns of `otel_logs`, times in nanoseconds."""
        names = [name for name, _ in _RECORD_FIELDS]
        after: tuple[int, str, int] = (-1, "", 0)
        while True:
            rows = self._store.query(
                f"""
                SELECT {", ".join(expression for _, expression in _RECORD_FIELDS)} FROM
                (
                    SELECT * FROM otel.otel_logs
                    WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}}
                        AND (toUnixTimestamp64Nano(Timestamp), SpanId, RowHash)
                            > ({{after_ns:Int64}}, {{after_id:String}}, {{after_hash:UInt64}})
                    ORDER BY Timestamp, SpanId, RowHash, IngestedAt DESC LIMIT 1 BY Timestamp, SpanId, RowHash
                    LIMIT {PAGE}
                )
                """,
                {
                    "tenant": run.tenant,
                    "run": run.run_id,
                    "after_ns": after[0],
                    "after_id": after[1],
                    "after_hash": after[2],
                },
            )
            for row in rows:
                yield dict(zip(names, row, strict=True))
            if len(rows) < PAGE:
                return
            last = dict(zip(names, rows[-1], strict=True))
            after = last["time_ns"], last["span_id"], last["hash"]
