"""Spans as they were received."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mappers.model import Run
from sinks.clickhouse.queries.base import Queries, hours, within

SPAN_FIELDS = (
    ("trace_id", "TraceId"),
    ("span_id", "SpanId"),
    ("parent_span_id", "ParentSpanId"),
    ("trace_state", "TraceState"),
    ("name", "SpanName"),
    ("kind", "SpanKind"),
    ("start_ns", "toUnixTimestamp64Nano(Timestamp)"),
    ("duration_ns", "Duration"),
    ("status_code", "StatusCode"),
    ("status_message", "StatusMessage"),
    ("service", "ServiceName"),
    ("resource", "ResourceAttributes"),
    ("scope_name", "ScopeName"),
    ("scope_version", "ScopeVersion"),
    ("scope", "ScopeAttributes"),
    ("attributes", "SpanAttributes"),
    ("event_times_ns", "arrayMap(t -> toUnixTimestamp64Nano(t), Events.Timestamp)"),
    ("event_names", "Events.Name"),
    ("event_attributes", "Events.Attributes"),
    ("link_trace_ids", "Links.TraceId"),
    ("link_span_ids", "Links.SpanId"),
    ("link_attributes", "Links.Attributes"),
    ("project", "Project"),
)
"""Fields of a stored span, and how each is selected."""


class SpanQueries(Queries):
    def spans(self, run: Run) -> list[dict[str, Any]]:
        """The run's spans as received, by time: the columns of `otel_traces`, times in nanoseconds."""
        rows = self._store.query(
            f"""
            SELECT {", ".join(expression for _, expression in SPAN_FIELDS)} FROM
            (
                SELECT * FROM otel.otel_traces
                WHERE Tenant = {{tenant:String}} AND TraceId = {{run:String}} AND {within("Timestamp")}
                ORDER BY IngestedAt DESC LIMIT 1 BY SpanId
            )
            ORDER BY Timestamp, SpanId
            """,
            {"tenant": run.tenant, "run": run.run_id, **hours(run)},
        )
        names = [name for name, _ in SPAN_FIELDS]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def spans_by_id(self, run: Run, span_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of the run's spans that there are, by id, as `spans` gives them."""
        rows = self._store.query(
            f"""
            SELECT {", ".join(expression for _, expression in SPAN_FIELDS)} FROM otel.otel_traces
            WHERE Tenant = {{tenant:String}} AND TraceId = {{run:String}} AND SpanId IN {{spans:Array(String)}}
                AND {within("Timestamp")}
            ORDER BY IngestedAt DESC LIMIT 1 BY SpanId
            """,
            {"tenant": run.tenant, "run": run.run_id, "spans": list(span_ids), **hours(run)},
        )
        names = [name for name, _ in SPAN_FIELDS]
        return {row["span_id"]: row for row in (dict(zip(names, row, strict=True)) for row in rows)}

    def span(self, run: Run, span_id: str) -> dict[str, Any] | None:
        """One of the run's spans, as `spans` gives them."""
        rows = self._store.query(
            f"""
            SELECT {", ".join(expression for _, expression in SPAN_FIELDS)} FROM otel.otel_traces
            WHERE Tenant = {{tenant:String}} AND TraceId = {{run:String}} AND SpanId = {{span:String}}
                AND {within("Timestamp")}
            ORDER BY IngestedAt DESC LIMIT 1
            """,
            {"tenant": run.tenant, "run": run.run_id, "span": span_id, **hours(run)},
        )
        names = [name for name, _ in SPAN_FIELDS]
        return dict(zip(names, rows[0], strict=True)) if rows else None

    def runs_of_span(self, tenant: str, project: str, span_id: str) -> list[str]:
        """Ids of runs with an event of this span, two at most; of one project, unless it is ""."""
        rows = self._store.query(
            """
            SELECT DISTINCT RunId FROM otel.run_events
            WHERE Tenant = {tenant:String} AND SpanId = {span:String}
                AND ({project:String} = '' OR Project = {project:String})
            LIMIT 2
            """,
            {"tenant": tenant, "project": project, "span": span_id},
        )
        return [run_id for (run_id,) in rows]
