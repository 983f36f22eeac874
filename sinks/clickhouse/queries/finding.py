"""A text in one run's events, as far as they keep what they read and wrote."""

from __future__ import annotations

from dataclasses import dataclass

from mappers.model import Run
from sinks.clickhouse.queries.base import Queries, hours, within


@dataclass(frozen=True, slots=True)
class Found:
    """How often an event has a text in what it read and wrote, and in what went wrong."""

    id: str
    """Of its node."""
    input: int
    output: int
    error: int


class FindingQueries(Queries):
    def find(self, run: Run, text: str, limit: int) -> list[Found]:
        """Events that have the text, in any letter case, in what is kept of them, by time."""
        rows = self._store.query(
            f"""
            SELECT if(Seq = 0, SpanId, concat(SpanId, '.', toString(Seq))),
                countSubstringsCaseInsensitiveUTF8(Input, {{text:String}}) AS InInput,
                countSubstringsCaseInsensitiveUTF8(Output, {{text:String}}) AS InOutput,
                countSubstringsCaseInsensitiveUTF8(concat(ErrorType, '\n', ErrorMessage), {{text:String}}) AS InError
            FROM
            (
                SELECT StartTime, SpanId, Seq, Input, Output, ErrorType, ErrorMessage, DuplicateOf, Part
                FROM otel.run_events
                WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}} AND {within("StartTime")}
                ORDER BY IngestedAt DESC LIMIT 1 BY SpanId, Seq
            )
            WHERE DuplicateOf = '' AND Part = '' AND InInput + InOutput + InError > 0
            ORDER BY StartTime, SpanId, Seq LIMIT {{limit:UInt32}}
            """,
            {"tenant": run.tenant, "run": run.run_id, "text": text, "limit": limit, **hours(run)},
        )
        return [Found(*row) for row in rows]
