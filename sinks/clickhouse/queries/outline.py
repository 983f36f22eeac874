"""A run's events as far as its outline needs them."""

from __future__ import annotations

from mappers.model import Run
from mappers.outline import Node
from sinks.clickhouse.conditions import TOTAL_TOKENS
from sinks.clickhouse.queries.base import Queries, hours, within

_FIELDS = {
    "span_id": "SpanId",
    "seq": "Seq",
    "parent_span_id": "ParentSpanId",
    "kind": "Kind",
    "name": "Name",
    "start_ns": "toUnixTimestamp64Nano(StartTime)",
    "end_ns": "toUnixTimestamp64Nano(EndTime)",
    "status": "Status",
    "agent": "Agent",
    "model": "if(ResponseModel != '', ResponseModel, RequestModel)",
    "tool": "Tool",
    "tokens": TOTAL_TOKENS,
    "cost_usd": "CostUsd",
    "is_setup": "IsSetup",
    "duplicate_of": "DuplicateOf",
    "handoff_from": "HandoffFrom",
    "handoff_to": "HandoffTo",
    "handoff_source": "HandoffSource",
    "ttft_ms": "TtftMs",
    # A model reads a longer conversation each time: it repeats itself where it asks for, or says, the same again.
    "same": """multiIf(
        Kind IN ('LLM', 'EMBEDDING') AND notEmpty(ToolRequests),
            cityHash64(Kind, Name, Status, arrayMap(one -> (one.Name, one.ArgsHash), ToolRequests)),
        ResultHash = 0 AND (ArgsHash = 0 OR Kind = 'LLM'), 0,
        cityHash64(Kind, Name, Tool, Status, if(Kind = 'LLM', 0, ArgsHash), ResultHash))""",
}


class OutlineQueries(Queries):
    def nodes(self, run: Run, most: int | None = None) -> list[Node]:
        """The run's events without content, by time; log records that only add to a call are left out. Of very long
        runs perhaps only so many, those that began first."""
        fields = ", ".join(f"{_FIELDS[name]} AS {name}" for name in Node._fields)
        rows = self._store.query(
            f"""
            SELECT * FROM
            (
                SELECT {fields} FROM otel.run_events
                WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}} AND {within("StartTime")} AND Part = ''
                ORDER BY IngestedAt DESC LIMIT 1 BY SpanId, Seq
            )
            ORDER BY start_ns, span_id, seq
            {"" if most is None else "LIMIT {most:UInt32}"}
            """,
            {"tenant": run.tenant, "run": run.run_id, **hours(run)}
            | ({} if most is None else {"most": most}),
        )
        return list(map(Node._make, rows))
