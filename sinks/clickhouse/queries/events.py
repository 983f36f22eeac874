"""Events: a run's, and those that the deriver looks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mappers.foreign import LONGEST_PAUSE_NS
from mappers.model import Event, Kind, Run
from mappers.tree import MODEL_KINDS
from sinks.clickhouse.columns import EVENTS, read_event, selection
from sinks.clickhouse.queries.base import HOUR_S, Queries, hours, within

CONTENT = ("Input", "Output", "Metadata", "Parameters", "OfferedTools")
"""Columns of an event that only its own page needs."""
LONGEST_CALL_NS = HOUR_S * 10**9
"""A call that runs longer is not looked for as another's twin."""
MOST_TWIN_RUNS = 256
"""Most runs that are read back to look for twins in them."""
_CALLS = ", ".join(f"'{kind}'" for kind in sorted(MODEL_KINDS))
_WHOLE = f"IsRoot OR Source = 'log' OR notEmpty(Filled) OR (Status = 'error' AND Kind IN ({_CALLS}))"
_SLIM = ", ".join(
    f"if({_WHOLE}, {column.name}, defaultValueOfArgumentType({column.name}))"
    if column.name in CONTENT
    else column.expression
    for column in EVENTS
)
"""Events without content but for those whose content tells something of the run, or which call failed."""
MOST_UNSETTLED = 2_000
MOST_UNSETTLED_S = 60
"""How long a run may have waited to be settled, at the very most, when a process ended."""
_CALL_KINDS = tuple(str(kind) for kind in sorted({*MODEL_KINDS, Kind.TOOL}))


class EventQueries(Queries):
    def events(self, run: Run, content: bool = True) -> list[Event]:
        """The run's events by time; without `content`, as `events_of` gives them."""
        rows = self._store.query(
            f"""
            SELECT {selection(EVENTS) if content else _SLIM} FROM otel.run_events
            WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}} AND {within("StartTime")}
            ORDER BY IngestedAt DESC LIMIT 1 BY SpanId, Seq
            """,
            {"tenant": run.tenant, "run": run.run_id, **hours(run)},
        )
        # A second level of the query, to sort them there, takes the engine 5 ms to plan.
        return sorted(map(read_event, rows), key=lambda event: (event.start_ns, event.span_id, event.seq))

    def events_of(self, tenant: str, run_ids: Sequence[str]) -> dict[str, list[Event]]:
        """Events of several runs by run id, without content but for roots, log records, and what
        these filled; runs without events are absent."""
        rows = self._store.query(
            f"""
            SELECT {_SLIM} FROM otel.run_events
            WHERE Tenant = {{tenant:String}} AND RunId IN {{runs:Array(String)}}
            ORDER BY IngestedAt DESC LIMIT 1 BY RunId, SpanId, Seq
            """,
            {"tenant": tenant, "runs": list(run_ids)},
        )
        found: dict[str, list[Event]] = {}
        for row in rows:
            event = read_event(row)
            found.setdefault(event.run_id, []).append(event)
        return found

    def unsettled_runs(self) -> list[tuple[str, str]]:
        """(tenant, run id) of runs that have newer events than their row knows of: the process ended before they
        were settled."""
        newest = f"(SELECT max(DerivedAt) FROM otel.runs) - INTERVAL {MOST_UNSETTLED_S} SECOND"
        rows = self._store.query(
            f"""
            WITH touched AS
            (
                SELECT Tenant, RunId, max(IngestedAt) AS Touched FROM otel.run_events
                WHERE IngestedAt > {newest}
                GROUP BY Tenant, RunId HAVING countIf(Part = '') > 0
            )
            SELECT Tenant, RunId FROM touched
            LEFT JOIN
            (
                SELECT Tenant, RunId, max(DerivedAt) AS Settled FROM otel.runs
                WHERE (Tenant, RunId) IN (SELECT Tenant, RunId FROM touched)
                GROUP BY Tenant, RunId
            ) AS settled USING (Tenant, RunId)
            WHERE Touched > Settled
            ORDER BY Touched DESC LIMIT {MOST_UNSETTLED}
            """,
            {},
        )
        return [(tenant, run_id) for tenant, run_id in rows]

    def rows_tell(self, unsettled: Sequence[tuple[str, str]]) -> bool:
        """Whether nothing is stored of a run that has no row, but of the `unsettled` ones. What is only part of other
        events has none."""
        return len(unsettled) < MOST_UNSETTLED and not self._store.query(
            "SELECT 1 FROM otel.run_events WHERE Part != '' LIMIT 1", {}
        )

    def newest_call_ns(self) -> int:
        """End of the newest stored model call, of all tenants; 0 if there is none."""
        rows = self._store.query(
            f"SELECT toUnixTimestamp64Nano(max(EndTime)) FROM otel.run_events WHERE Kind IN {_CALL_KINDS}",
            {},
        )
        return max(int(rows[0][0]), 0)

    def runs_with_twins(self, tenant: str, calls: Sequence[Event]) -> list[str]:
        """Ids of runs in which twins of these calls may be: calls of the same time that have the response id of one
        of them, that ran in its process or have its answer or token counts where one of the two has no id, that are a
        log record of its session or what such a record tells of, or tools with their results. What one
        instrumentation told is told once, unless it began at the same time or is a mere end (`mappers.foreign`): of a
        busy process nothing has to be read back for its own calls."""
        ids = {call.response_id for call in calls if call.response_id}
        nameless = {call.instance for call in calls if call.instance and not call.response_id}
        spans = [call for call in calls if call.source != "log" and call.kind in MODEL_KINDS]
        tools = [call for call in calls if call.source != "log" and call.kind == Kind.TOOL]
        without_id = [call for call in spans if not call.response_id]
        scopes = {call.scope if _has_length(call) else None for call in calls}
        only = [scope for scope in scopes if scope is not None] if len(scopes) == 1 else []
        by_id = [] if only else _one_scope((call.response_id, call) for call in calls)
        by_process = [] if only else _one_scope((call.instance, call) for call in calls)
        rows = self._store.query(
            f"""
            SELECT DISTINCT RunId FROM otel.run_events
            WHERE Tenant = {{tenant:String}} AND Kind IN {_CALL_KINDS}
                AND StartTime >= fromUnixTimestamp64Nano({{since:Int64}}, 'UTC')
                AND StartTime <= fromUnixTimestamp64Nano({{until:Int64}}, 'UTC')
                AND
                (
                    (
                        ResponseId IN {{ids:Array(String)}}
                        AND
                        (
                            Source = 'log'
                            OR (Scope NOT IN {{only:Array(String)}}
                                AND concat(ResponseId, ' ', Scope) NOT IN {{by_id:Array(String)}})
                            OR toUnixTimestamp64Nano(StartTime) IN {{begun:Array(Int64)}}
                        )
                    )
                    OR
                    (
                        (
                            Instance IN {{nameless:Array(String)}}
                            OR (ResponseId = '' AND Instance IN {{processes:Array(String)}})
                        )
                        AND
                        (
                            Source = 'log'
                            OR (Scope NOT IN {{only:Array(String)}}
                                AND concat(Instance, ' ', Scope) NOT IN {{by_process:Array(String)}})
                            OR StartTime = EndTime
                        )
                    )
                    OR
                    (
                        Source != 'log' AND Scope NOT IN {{only:Array(String)}}
                        AND
                        (
                            (
                                ResponseId = ''
                                AND
                                (
                                    ResultHash IN {{answers:Array(UInt64)}}
                                    OR (InputTokens, OutputTokens) IN {{counts:Array(Tuple(Int64, Int64))}}
                                )
                            )
                            OR ResultHash IN {{nameless_answers:Array(UInt64)}}
                            OR (InputTokens, OutputTokens) IN {{nameless_counts:Array(Tuple(Int64, Int64))}}
                        )
                    )
                    OR
                    (
                        Kind = 'TOOL' AND Scope NOT IN {{only:Array(String)}}
                        AND ResultHash IN {{results:Array(UInt64)}}
                    )
                    OR (Source = 'log' AND SessionId IN {{sessions:Array(String)}})
                    OR SessionId IN {{recorded:Array(String)}}
                )
            LIMIT {MOST_TWIN_RUNS}
            """,
            {
                "tenant": tenant,
                "ids": sorted(ids),
                "nameless": sorted(nameless),
                "results": _answers(tools),
                "answers": _answers(spans),
                "counts": _counts(spans),
                "nameless_answers": _answers(without_id),
                "nameless_counts": _counts(without_id),
                "sessions": sorted({call.session_id for call in calls if call.session_id}),
                "only": only,
                "by_id": by_id,
                "by_process": by_process,
                "begun": sorted({call.start_ns for call in calls}),
                "recorded": sorted(
                    {call.session_id for call in calls if call.session_id and call.source == "log"}
                ),
                "processes": sorted({call.instance for call in calls if call.instance}),
                "since": min(call.start_ns for call in calls) - LONGEST_CALL_NS,
                "until": max(call.end_ns for call in calls) + LONGEST_PAUSE_NS,
            },
        )
        return [run_id for (run_id,) in rows]

    def event_rows(self, tenant: str, run_id: str, keys: Sequence[tuple[str, int]]) -> list[Event]:
        """Events of one run by (span_id, seq), whole."""
        rows = self._store.query(
            f"""
            SELECT {selection(EVENTS)} FROM otel.run_events
            WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}} AND SpanId IN {{spans:Array(String)}}
            ORDER BY IngestedAt DESC LIMIT 1 BY SpanId, Seq
            """,
            {"tenant": tenant, "run": run_id, "spans": [span_id for span_id, _ in keys]},
        )
        wanted = set(keys)
        return [event for row in rows if ((event := read_event(row)).span_id, event.seq) in wanted]

    def texts_of(self, tenant: str, run_ids: Sequence[str]) -> dict[tuple[str, str, int], tuple[str, str]]:
        """(input, output) of tool and model calls by (run id, span id, seq), as far as events keep them."""
        rows = self._store.query(
            """
            SELECT RunId, SpanId, Seq, Input, Output FROM otel.run_events
            WHERE Tenant = {tenant:String} AND RunId IN {runs:Array(String)}
                AND Kind IN ('TOOL', 'HANDOFF', 'LLM', 'RETRIEVER')
            ORDER BY IngestedAt DESC LIMIT 1 BY RunId, SpanId, Seq
            """,
            {"tenant": tenant, "runs": list(run_ids)},
        )
        return {(run_id, span_id, seq): (given, answered) for run_id, span_id, seq, given, answered in rows}

    def events_about(self, run: Run, span_ids: Sequence[str]) -> list[Event]:
        """The run's events that tell of these spans: their own, those of their twins, and log records below them."""
        rows = self._store.query(
            f"""
            SELECT {selection(EVENTS)} FROM otel.run_events
            WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}} AND {within("StartTime")}
                AND (SpanId IN {{spans:Array(String)}} OR DuplicateOf IN {{spans:Array(String)}}
                    OR (Part != '' AND ParentSpanId IN {{spans:Array(String)}}))
            ORDER BY IngestedAt DESC LIMIT 1 BY SpanId, Seq
            """,
            {"tenant": run.tenant, "run": run.run_id, "spans": list(span_ids), **hours(run)},
        )
        return [read_event(row) for row in rows]


def _one_scope(calls: Iterable[tuple[str, Event]]) -> list[str]:
    """Of what calls share and of whom all are spans with a length, told by one instrumentation: this and that."""
    scopes: dict[str, set[str | None]] = {}
    for shared, call in calls:
        if shared:
            known = scopes.setdefault(shared, set())
            known.add(call.scope)
            if not _has_length(call):
                known.add(None)  # looks for what its own instrumentation told, too
    return sorted(
        f"{shared} {scope}" for shared, known in scopes.items() if len(known) == 1 for scope in known
    )


def _answers(calls: Iterable[Event]) -> list[int]:
    return sorted({call.result_hash for call in calls if call.result_hash})


def _counts(calls: Iterable[Event]) -> list[tuple[int, int]]:
    """Where both are known. Embeddings write nothing: they are looked for in memory alone."""
    return sorted(
        {
            (call.input_tokens, call.output_tokens)
            for call in calls
            if call.input_tokens is not None and call.output_tokens is not None
        }
    )


def _has_length(call: Event) -> bool:
    """It is a span, and no mere end of another."""
    return call.source != "log" and call.start_ns != call.end_ns
