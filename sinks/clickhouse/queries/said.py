"""What was said in runs whose root does not tell it, as those of OpenAI's Agents SDK and of the proxy's sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mappers.model import Kind, Run
from sinks.clickhouse.queries.base import HOUR_S, Queries, within

_ASKS_FOR_TOOLS = "hasAny(FinishReasons, ['tool_calls', 'tool_use'])"
NOTHING = "", ""


class SaidQueries(Queries):
    def with_said(self, runs: Iterable[Run]) -> list[Run]:
        """The runs, of one tenant, in their order. One without input or output has that of its model calls."""
        told = list(runs)
        silent = [run for run in told if run.counts.llm_calls and not (run.input and run.output)]
        if not silent:
            return told
        said = self.said_in(
            silent[0].tenant,
            [run.run_id for run in silent],
            min(run.start_ns for run in silent),
            max(run.end_ns for run in silent),
        )
        filled = {
            run.run_id: replace(run, input=run.input or read, output=run.output or wrote)
            for run in silent
            for read, wrote in [said.get(run.run_id, NOTHING)]
        }
        return [filled.get(run.run_id, run) for run in told]

    def said_in(
        self, tenant: str, run_ids: Sequence[str], start_ns: int, end_ns: int
    ) -> Mapping[str, tuple[str, str]]:
        """By run id what the run's first model call read last, and its last answer that asks for no tool: previews, ""
        where there is none. Runs without model calls are absent.

        Args:
            start_ns: none of the runs began before.
            end_ns: no call began after.
        """
        rows = self._store.query(
            f"""
            SELECT RunId, argMinIf(Input, (StartTime, SpanId), Input != ''),
                argMaxIf(Output, (EndTime, SpanId), Output != '' AND NOT {_ASKS_FOR_TOOLS})
            FROM otel.run_events
            WHERE Tenant = {{tenant:String}} AND RunId IN {{runs:Array(String)}} AND {within("StartTime")}
                AND Kind = '{Kind.LLM}' AND DuplicateOf = ''
            GROUP BY RunId
            """,
            {
                "tenant": tenant,
                "runs": list(run_ids),
                "from_s": start_ns // 10**9 // HOUR_S * HOUR_S,
                "to_s": max(start_ns, end_ns) // 10**9 // HOUR_S * HOUR_S,
            },
        )
        return {run_id: (read, wrote) for run_id, read, wrote in rows}
