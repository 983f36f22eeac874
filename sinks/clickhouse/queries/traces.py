"""Traces as trace browsers list them: services, operations, and what each trace is about in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mappers.model import Run
from sinks.clickhouse.queries.base import HOUR_S, Queries, within

MOST_OPERATIONS = 5000


@dataclass(frozen=True, slots=True)
class ServicePart:
    """What a service did of a trace."""

    service: str
    spans: int
    errors: int


@dataclass(slots=True)
class TraceSummary:
    """A trace in one line. Times in ns; an orphan's parent is not there."""

    trace_id: str
    root_service: str = ""
    root_name: str = ""
    start_ns: int = 0
    end_ns: int = 0
    orphans: int = 0
    services: list[ServicePart] = field(default_factory=list)


class TraceQueries(Queries):
    def operations(self, tenant: str, project: str, service: str) -> list[tuple[str, str]]:
        """(name, OTLP's word for the kind) of the spans of a service, of one project or of all."""
        rows = self._store.query(
            f"""
            SELECT DISTINCT SpanName AS Name, SpanKind AS Kind FROM otel.otel_traces
            WHERE Tenant = {{tenant:String}} AND ServiceName = {{service:String}}
                AND ({{project:String}} = '' OR Project = {{project:String}})
            UNION DISTINCT
            SELECT DISTINCT Name, 'Internal' AS Kind FROM otel.run_events
            WHERE Tenant = {{tenant:String}} AND Source = 'log' AND Part = '' AND Service = {{service:String}}
                AND ({{project:String}} = '' OR Project = {{project:String}})
            ORDER BY Name, Kind LIMIT {MOST_OPERATIONS}
            """,
            {"tenant": tenant, "project": project, "service": service},
        )
        return [(str(name), str(kind)) for name, kind in rows]

    def trace_summaries(self, tenant: str, runs: Sequence[Run]) -> list[TraceSummary]:
        """The traces of these runs, in their order. Runs that only log records tell of are told by themselves."""
        if not runs:
            return []
        values = {"tenant": tenant, "runs": [run.run_id for run in runs], **_hours(runs)}
        spans = f"""
            SELECT TraceId, SpanId, ParentSpanId, SpanName, ServiceName, Timestamp, StatusCode FROM otel.otel_traces
            WHERE Tenant = {{tenant:String}} AND TraceId IN {{runs:Array(String)}} AND {within("Timestamp")}
            ORDER BY IngestedAt DESC LIMIT 1 BY TraceId, SpanId
        """
        found = {
            run.run_id: TraceSummary(
                run.run_id, next(iter(run.services), ""), run.name, run.start_ns, run.end_ns
            )
            for run in runs
        }
        for trace_id, service, count, errors in self._store.query(
            f"""
            SELECT TraceId, ServiceName, count() AS Spans, countIf(StatusCode = 'Error') FROM ({spans})
            GROUP BY TraceId, ServiceName ORDER BY TraceId, Spans DESC, ServiceName
            """,
            values,
        ):
            found[trace_id].services.append(ServicePart(str(service), int(count), int(errors)))
        for trace_id, service, name in self._store.query(
            f"""
            SELECT TraceId, argMin(ServiceName, (ParentSpanId != '', Timestamp)),
                argMin(SpanName, (ParentSpanId != '', Timestamp))
            FROM ({spans}) GROUP BY TraceId
            """,
            values,
        ):
            found[trace_id].root_service, found[trace_id].root_name = str(service), str(name)
        for trace_id, orphans in self._store.query(
            f"""
            SELECT TraceId, count() FROM (SELECT TraceId, ParentSpanId FROM ({spans}) WHERE ParentSpanId != '') AS child
            LEFT ANTI JOIN (SELECT TraceId, SpanId FROM ({spans})) AS parent
                ON child.TraceId = parent.TraceId AND child.ParentSpanId = parent.SpanId
            GROUP BY TraceId
            """,
            values,
        ):
            found[trace_id].orphans = int(orphans)
        for run in runs:
            if not found[run.run_id].services:
                found[run.run_id].services = [
                    ServicePart(service, run.counts.events, run.counts.errors) for service in run.services[:1]
                ]
        return list(found.values())

    def service_calls(
        self, tenant: str, project: str, since_ns: int, until_ns: int
    ) -> list[tuple[str, str, int]]:
        """(caller, called, how often): spans whose parent is another service's."""
        spans = """
            SELECT TraceId, SpanId, ParentSpanId, ServiceName FROM otel.otel_traces
            WHERE Tenant = {tenant:String} AND ({project:String} = '' OR Project = {project:String})
                AND Timestamp >= fromUnixTimestamp64Nano({since:Int64}, 'UTC')
                AND Timestamp < fromUnixTimestamp64Nano({until:Int64}, 'UTC')
        """
        rows: Sequence[Sequence[Any]] = self._store.query(
            f"""
            SELECT parent.ServiceName AS Caller, child.ServiceName AS Called, uniqExact(child.TraceId, child.SpanId)
            FROM (SELECT * FROM ({spans}) WHERE ParentSpanId != '') AS child
            INNER JOIN ({spans}) AS parent
                ON child.TraceId = parent.TraceId AND child.ParentSpanId = parent.SpanId
            WHERE Caller != Called GROUP BY Caller, Called ORDER BY Caller, Called
            """,
            {"tenant": tenant, "project": project, "since": since_ns, "until": until_ns},
        )
        return [(str(caller), str(called), int(calls)) for caller, called, calls in rows]


def _hours(runs: Sequence[Run]) -> dict[str, int]:
    first = min(run.start_ns for run in runs) // 10**9 // HOUR_S * HOUR_S
    last = max(max(run.start_ns, run.end_ns) for run in runs) // 10**9 // HOUR_S * HOUR_S
    return {"from_s": first, "to_s": last}
