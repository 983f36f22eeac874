"""Log records as they were received."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mappers.model import Run
from sinks.clickhouse.queries.base import Queries, hours, within

RECORD_FIELDS = (
    ("time_ns", "toUnixTimestamp64Nano(Timestamp)"),
    ("trace_id", "TraceId"),
    ("span_id", "SpanId"),
    ("flags", "TraceFlags"),
    ("severity_number", "SeverityNumber"),
    ("severity_text", "SeverityText"),
    ("event_name", "EventName"),
    ("body", "Body"),
    ("attributes", "LogAttributes"),
    ("resource", "ResourceAttributes"),
    ("scope_name", "ScopeName"),
    ("scope_version", "ScopeVersion"),
    ("scope", "ScopeAttributes"),
    ("project", "Project"),
)
"""Fields of a stored log record, and how each is selected."""


class RecordQueries(Queries):
    def records(self, run: Run, span_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Log records of these spans of the run, by time: the columns of `otel_logs`, times in nanoseconds."""
        rows = self._store.query(
            f"""
            SELECT {", ".join(expression for _, expression in RECORD_FIELDS)} FROM
            (
                SELECT * FROM otel.otel_logs
                WHERE Tenant = {{tenant:String}} AND TraceId = {{run:String}} AND SpanId IN {{spans:Array(String)}}
                    AND {within("TimestampTime")}
                ORDER BY IngestedAt DESC LIMIT 1 BY Timestamp, SpanId, RowHash
            )
            ORDER BY Timestamp, RowHash
            """,
            {"tenant": run.tenant, "run": run.run_id, "spans": list(span_ids), **hours(run)},
        )
        names = [name for name, _ in RECORD_FIELDS]
        return [dict(zip(names, row, strict=True)) for row in rows]
