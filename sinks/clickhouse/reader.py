"""What is stored, as model objects. All SQL that reads is here; values only ever enter it as bound parameters.

A row may be there more than once until the engine has merged it away, so every query takes the newest of each
identity: by `IngestedAt` for events and spans, by `Version` for runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from mappers.foreign import LONGEST_PAUSE_NS
from mappers.model import DEFAULT_TENANT, Event, Kind, Run, Warning
from mappers.tree import MODEL_KINDS
from sinks.aggregates import MOST_ROWS, AggregateRow, Asked
from sinks.clickhouse.aggregates import aggregate_sql
from sinks.clickhouse.columns import EVENTS, RUNS, WARNINGS, read_event, read_run, read_warning, selection
from sinks.clickhouse.conditions import Sql, base_values, condition_sql, facet_sql
from sinks.clickhouse.store import Store
from sinks.clickhouse.warnings import WarningFilter, WarningPage, list_warnings
from sinks.filter import ALWAYS, Condition

CONTENT = ("Input", "Output", "Metadata", "Parameters", "OfferedTools")
"""Columns of an event that only its own page needs."""

HOUR_S = 3600
DAY_S = 24 * HOUR_S
LONGEST_CALL_NS = HOUR_S * 10**9
"""A call that runs longer is not looked for as another's twin."""
MOST_TWIN_RUNS = 256
"""Most runs that are read back to look for twins in them."""
_CALL_KINDS = tuple(str(kind) for kind in sorted({*MODEL_KINDS, Kind.TOOL}))
SURPLUS = 4
"""Rows looked at for each run of a page: some are older versions."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; times are half-open [since, until)."""

    tenant: str = DEFAULT_TENANT
    since_ns: int | None = None
    until_ns: int | None = None
    where: Condition = ALWAYS
    include_all: bool = False
    """Also runs that only set something up, and runs whose calls are counted in another."""


class Order(StrEnum):
    """By what runs are sorted, largest first and unknown last; the value is the sort key as SQL."""

    START = "toUnixTimestamp64Nano(Start)"
    COST = "toFloat64(ifNull(CostUsd, -1))"
    TOKENS = "ifNull(InputTokens, 0) + ifNull(OutputTokens, 0)"
    DURATION = "DurationNs"
    WARNINGS = "Warnings"


Cursor = tuple[int | float, str]
"""Sort key and run id of the last run of a page."""


@dataclass(frozen=True, slots=True)
class Page:
    runs: Sequence[Run]
    next_cursor: Cursor | None
    """Set if more follow."""


class Reader:
    """Queries of one store. May be used from any number of threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # ------------------------------------------------------------------- runs

    def runs(
        self,
        wanted: RunFilter,
        limit: int,
        cursor: Cursor | None,
        now_ns: int,
        order: Order = Order.START,
    ) -> Page:
        """Runs that match, in order. `now_ns` decides which rootless runs count as incomplete."""
        if order is Order.START:
            return self._newest(wanted, limit, cursor, now_ns)
        return self._largest(wanted, limit, cursor, now_ns, order)

    def _newest(self, wanted: RunFilter, limit: int, cursor: Cursor | None, now_ns: int) -> Page:
        """Newest first.

        Rows of all versions are walked in windows from the cursor downwards. A window yields the runs whose newest
        version lies in it; a run that an older version brought in comes with its own window.
        """
        conditions, values = _conditions(wanted, now_ns)
        runs: list[Run] = []
        rows = limit * SURPLUS
        while len(runs) <= limit:
            matching = conditions + ([] if cursor is None else [_OLDER])
            values |= {"limit": limit + 1, "rows": rows}
            if cursor is not None:
                values |= {"cursor_ns": int(cursor[0]), "cursor_id": cursor[1]}
            edge = self._store.query(
                f"SELECT toUnixTimestamp64Nano(Start) FROM otel.runs WHERE {' AND '.join(matching)}"
                " ORDER BY Start DESC LIMIT 1 OFFSET {rows:UInt32}",
                values,
            )
            if edge:
                matching.append("Start >= fromUnixTimestamp64Nano({edge_ns:Int64}, 'UTC')")
                values["edge_ns"] = edge[0][0]
            window = " AND ".join(matching)
            found = self._store.query(
                f"""
                SELECT {selection(RUNS)} FROM
                (
                    SELECT *, DurationNs FROM otel.runs
                    WHERE Tenant = {{tenant:String}} AND RunId IN (SELECT RunId FROM otel.runs WHERE {window})
                    ORDER BY Version DESC LIMIT 1 BY RunId
                )
                WHERE {window} ORDER BY Start DESC, RunId DESC LIMIT {{limit:UInt32}}
                """,
                values,
            )
            runs += [read_run(row) for row in found]
            if not edge:
                break
            cursor = edge[0][0], ""
            rows *= 2  # versions crowd the window
        page = runs[:limit]
        more = len(runs) > limit
        return Page(page, (page[-1].start_ns, page[-1].run_id) if more else None)

    def _largest(
        self, wanted: RunFilter, limit: int, cursor: Cursor | None, now_ns: int, order: Order
    ) -> Page:
        """By a number, which has no index: the keys of all runs are read, and only the page's runs whole."""
        conditions, values = _conditions(wanted, now_ns)
        after = ""
        if cursor is not None:
            after = f"WHERE (toFloat64({order}), RunId) < ({{cursor_key:Float64}}, {{cursor_id:String}})"
            values |= {"cursor_key": float(cursor[0]), "cursor_id": cursor[1]}
        values["limit"] = limit + 1
        rows = self._store.query(
            f"""
            SELECT RunId, toFloat64({order}) AS Key FROM
            (
                SELECT * FROM
                (
                    SELECT *, DurationNs FROM otel.runs WHERE Tenant = {{tenant:String}}
                    ORDER BY Version DESC LIMIT 1 BY RunId
                )
                WHERE {" AND ".join(conditions)}
            )
            {after} ORDER BY Key DESC, RunId DESC LIMIT {{limit:UInt32}}
            """,
            values,
        )
        found = self.runs_by_id(wanted.tenant, [run_id for run_id, _ in rows[:limit]])
        page = [found[run_id] for run_id, _ in rows[:limit] if run_id in found]
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(page, (last[1], last[0]) if last else None)

    def runs_by_id(self, tenant: str, run_ids: Sequence[str]) -> dict[str, Run]:
        """The runs that there are, by id."""
        rows = self._store.query(
            f"SELECT {selection(RUNS)} FROM otel.runs WHERE Tenant = {{tenant:String}}"
            " AND RunId IN {runs:Array(String)} ORDER BY Version DESC LIMIT 1 BY RunId",
            {"tenant": tenant, "runs": list(run_ids)},
        )
        return {run.run_id: run for run in map(read_run, rows)}

    def facet(
        self, field: str, prefix: str, wanted: RunFilter, limit: int, now_ns: int
    ) -> list[tuple[str, int]]:
        """Values of a field that begin with the prefix, in any letter case, with how many of the runs have them;
        most frequent first. `attr` gives keys of attributes, `attr.KEY` the values of one."""
        conditions, values = _conditions(wanted, now_ns)
        values |= {"prefix": prefix, "limit": limit}
        newest = f"""
            SELECT * FROM
            (
                SELECT *, DurationNs FROM otel.runs WHERE Tenant = {{tenant:String}}
                ORDER BY Version DESC LIMIT 1 BY RunId
            )
            WHERE {" AND ".join(conditions)}
        """
        rows = self._store.query(
            f"""
            SELECT Value, count() AS Runs FROM ({facet_sql(field, newest, values)})
            WHERE Value != '' AND startsWith(lowerUTF8(Value), lowerUTF8({{prefix:String}}))
            GROUP BY Value ORDER BY Runs DESC, Value LIMIT {{limit:UInt32}}
            """,
            values,
        )
        return [(str(value), int(runs)) for value, runs in rows]

    def aggregate(
        self,
        asked: Sequence[Asked],
        by: Sequence[str],
        wanted: RunFilter,
        interval_s: int | None,
        zone: str,
        now_ns: int,
    ) -> list[AggregateRow]:
        """Metrics over the events of the runs that match, in the filter's time; at most `MOST_ROWS` and one more.

        Args:
            interval_s: length of an interval in seconds, None for one row over all time.
            zone: IANA name of the time zone in which intervals of a day or more begin.
        """
        runs_time = RunFilter(wanted.tenant, None, wanted.until_ns, wanted.where, wanted.include_all)
        conditions, values = _conditions(runs_time, now_ns)
        within = ["true"]
        for name, operator, bound in (("from_ns", ">=", wanted.since_ns), ("to_ns", "<", wanted.until_ns)):
            if bound is not None:
                within.append(f"StartTime {operator} fromUnixTimestamp64Nano({{{name}:Int64}}, 'UTC')")
                values[name] = bound
        bucket = ""
        if interval_s is not None:
            values |= {"interval": interval_s, "zone": zone}
            bucket = (
                "toUnixTimestamp(toStartOfInterval(StartTime, toIntervalSecond({interval:UInt32}), {zone:String}))"
                if interval_s < DAY_S
                else "toUnixTimestamp(toStartOfInterval(toDateTime(StartTime, {zone:String}),"
                f" toIntervalDay({interval_s // DAY_S}), {{zone:String}}))"
            )
        values["limit"] = MOST_ROWS + 1
        newest = f"""
            SELECT RunId FROM
            (
                SELECT *, DurationNs FROM otel.runs WHERE Tenant = {{tenant:String}}
                ORDER BY Version DESC LIMIT 1 BY RunId
            )
            WHERE {" AND ".join(conditions)}
        """
        rows = self._store.query(
            aggregate_sql(asked, by, newest, bucket=bucket, within=" AND ".join(within)), values
        )
        return [
            AggregateRow(
                int(start) * 10**9 if interval_s is not None else None,
                tuple(keys),
                [float(value) if isinstance(value, Decimal) else value for value in found],
            )
            for start, keys, *found in rows
        ]

    def event_times(self, wanted: RunFilter, now_ns: int) -> tuple[int, int] | None:
        """First and last start of an event of the runs that match, in ns; None if there is none."""
        conditions, values = _conditions(wanted, now_ns)
        rows = self._store.query(
            "SELECT count(), toUnixTimestamp64Nano(min(Start)), toUnixTimestamp64Nano(max(End))"
            f" FROM otel.runs WHERE {' AND '.join(conditions)}",
            values,
        )
        count, first, last = rows[0]
        return (int(first), int(last)) if count else None

    def run(self, tenant: str, run_id: str) -> Run | None:
        rows = self._store.query(
            f"SELECT {selection(RUNS)} FROM otel.runs WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}}"
            " ORDER BY Version DESC LIMIT 1",
            {"tenant": tenant, "run": run_id},
        )
        return read_run(rows[0]) if rows else None

    def totals(self, tenant: str) -> tuple[int, int, int]:
        """Stored spans, events and runs, each counted once.

        A crash may have left events whose runs were not written any more. They are later than every run's row, and
        their runs are counted from the events.
        """
        rows = self._store.query(
            """
            WITH cut_short AS
            (
                SELECT DISTINCT RunId FROM otel.run_events
                WHERE Tenant = {tenant:String} AND IngestedAt > (SELECT max(DerivedAt) FROM otel.runs)
            )
            SELECT sum(Spans), sum(Events), count() FROM
            (
                SELECT argMax(Spans, Version) AS Spans, argMax(Events, Version) AS Events
                FROM otel.runs WHERE Tenant = {tenant:String} AND RunId NOT IN cut_short GROUP BY RunId
                UNION ALL
                SELECT uniqExactIf(SpanId, Seq = 0 AND Source != 'log') AS Spans, uniqExact(SpanId, Seq) AS Events
                FROM otel.run_events WHERE Tenant = {tenant:String} AND RunId IN cut_short
                GROUP BY RunId HAVING countIf(Part = '') > 0
            )
            """,
            {"tenant": tenant},
        )
        spans, events, runs = rows[0]
        return int(spans), int(events), int(runs)

    # ------------------------------------------------------------------- events

    def events(self, run: Run) -> list[Event]:
        """The run's events with their content, by time."""
        rows = self._store.query(
            f"""
            SELECT {selection(EVENTS)} FROM
            (
                SELECT * FROM otel.run_events
                WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}} AND {_within("StartTime")}
                ORDER BY IngestedAt DESC LIMIT 1 BY SpanId, Seq
            )
            ORDER BY StartTime, SpanId, Seq
            """,
            {"tenant": run.tenant, "run": run.run_id, **_hours(run)},
        )
        return [read_event(row) for row in rows]

    def events_of(self, tenant: str, run_ids: Sequence[str]) -> dict[str, list[Event]]:
        """Events of several runs by run id, without content but for roots, log records, and what
        these filled; runs without events are absent."""
        whole = "IsRoot OR Source = 'log' OR notEmpty(Filled)"
        slim = ", ".join(
            f"if({whole}, {column.name}, defaultValueOfArgumentType({column.name}))"
            if column.name in CONTENT
            else column.expression
            for column in EVENTS
        )
        rows = self._store.query(
            f"""
            SELECT {slim} FROM
            (
                SELECT * FROM otel.run_events
                WHERE Tenant = {{tenant:String}} AND RunId IN {{runs:Array(String)}}
                ORDER BY IngestedAt DESC LIMIT 1 BY RunId, SpanId, Seq
            )
            """,
            {"tenant": tenant, "runs": list(run_ids)},
        )
        found: dict[str, list[Event]] = {}
        for row in rows:
            event = read_event(row)
            found.setdefault(event.run_id, []).append(event)
        return found

    def newest_call_ns(self) -> int:
        """End of the newest stored model call, of all tenants; 0 if there is none."""
        rows = self._store.query(
            f"SELECT toUnixTimestamp64Nano(max(EndTime)) FROM otel.run_events WHERE Kind IN {_CALL_KINDS}",
            {},
        )
        return max(int(rows[0][0]), 0)

    def runs_with_twins(self, tenant: str, calls: Sequence[Event]) -> list[str]:
        """Ids of runs in which twins of these calls may be: calls of the same time that have the response id of one
        of them, that ran in its process where one of the two has no id, or that are a log record of its session or
        what such a record tells of."""
        ids = {call.response_id for call in calls if call.response_id}
        nameless = {call.instance for call in calls if call.instance and not call.response_id}
        rows = self._store.query(
            f"""
            SELECT DISTINCT RunId FROM otel.run_events
            WHERE Tenant = {{tenant:String}} AND Kind IN {_CALL_KINDS}
                AND StartTime >= fromUnixTimestamp64Nano({{since:Int64}}, 'UTC')
                AND StartTime <= fromUnixTimestamp64Nano({{until:Int64}}, 'UTC')
                AND
                (
                    ResponseId IN {{ids:Array(String)}}
                    OR (Instance IN {{nameless:Array(String)}})
                    OR (Source = 'log' AND SessionId IN {{sessions:Array(String)}})
                    OR SessionId IN {{told:Array(String)}}
                    OR (ResponseId = '' AND Instance IN {{processes:Array(String)}})
                )
            LIMIT {MOST_TWIN_RUNS}
            """,
            {
                "tenant": tenant,
                "ids": sorted(ids),
                "nameless": sorted(nameless),
                "sessions": sorted({call.session_id for call in calls if call.session_id}),
                "told": sorted(
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

    # ------------------------------------------------------------------- spans and warnings

    def spans(self, run: Run) -> list[dict[str, Any]]:
        """The run's spans as received, by time: the columns of `otel_traces`, times in nanoseconds."""
        rows = self._store.query(
            f"""
            SELECT {", ".join(expression for _, expression in SPAN_FIELDS)} FROM
            (
                SELECT * FROM otel.otel_traces
                WHERE Tenant = {{tenant:String}} AND TraceId = {{run:String}} AND {_within("Timestamp")}
                ORDER BY IngestedAt DESC LIMIT 1 BY SpanId
            )
            ORDER BY Timestamp, SpanId
            """,
            {"tenant": run.tenant, "run": run.run_id, **_hours(run)},
        )
        names = [name for name, _ in SPAN_FIELDS]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def span(self, run: Run, span_id: str) -> dict[str, Any] | None:
        """One of the run's spans, as `spans` gives them."""
        rows = self._store.query(
            f"""
            SELECT {", ".join(expression for _, expression in SPAN_FIELDS)} FROM otel.otel_traces
            WHERE Tenant = {{tenant:String}} AND TraceId = {{run:String}} AND SpanId = {{span:String}}
                AND {_within("Timestamp")}
            ORDER BY IngestedAt DESC LIMIT 1
            """,
            {"tenant": run.tenant, "run": run.run_id, "span": span_id, **_hours(run)},
        )
        names = [name for name, _ in SPAN_FIELDS]
        return dict(zip(names, rows[0], strict=True)) if rows else None

    def warnings(self, tenant: str, run_id: str) -> list[Warning]:
        """The run's warnings, most recent state of each; retracted ones are left out."""
        rows = self._store.query(
            f"""
            SELECT {selection(WARNINGS)} FROM
            (
                SELECT * FROM otel.loop_warnings
                WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}}
                ORDER BY IngestedAt DESC LIMIT 1 BY WarningId
            )
            WHERE State != 'retracted' ORDER BY FirstSeen, WarningId
            """,
            {"tenant": tenant, "run": run_id},
        )
        return [read_warning(row) for row in rows]

    def warning_page(
        self, wanted: WarningFilter, limit: int, cursor: tuple[int, str, str] | None
    ) -> WarningPage:
        """Warnings of all runs that match, the latest first."""
        return list_warnings(self._store, wanted, limit, cursor)

    def warnings_of(self, tenant: str, threads: Sequence[str]) -> list[Warning]:
        """Warnings of threads that stand; a thread that is a run has the run's id."""
        rows = self._store.query(
            f"""
            SELECT {selection(WARNINGS)} FROM
            (
                SELECT * FROM otel.loop_warnings
                WHERE Tenant = {{tenant:String}}
                    AND (RunId IN {{runs:Array(String)}} OR Thread IN {{others:Array(String)}})
                ORDER BY IngestedAt DESC LIMIT 1 BY RunId, WarningId
            )
            WHERE State != 'retracted' AND Thread IN {{threads:Array(String)}}
            """,
            {
                "tenant": tenant,
                "threads": list(threads),
                "runs": [thread for thread in threads if ":" not in thread],
                "others": [thread for thread in threads if ":" in thread],
            },
        )
        return [read_warning(row) for row in rows]

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

    def session_runs(
        self, tenant: str, sessions: Sequence[str], since_ns: int, limit: int
    ) -> dict[tuple[str, str], list[str]]:
        """Ids of the latest runs of sessions that began since then, by (project, session id)."""
        rows = self._store.query(
            """
            SELECT RunId, argMax(Project, Version), argMax(SessionId, Version) AS Session,
                argMax(Start, Version) AS Began
            FROM otel.runs WHERE Tenant = {tenant:String} AND SessionId IN {sessions:Array(String)}
                AND Start >= fromUnixTimestamp64Nano({since_ns:Int64}, 'UTC')
            GROUP BY RunId ORDER BY Began DESC LIMIT {limit:UInt32} BY Session
            """,
            {"tenant": tenant, "sessions": list(sessions), "since_ns": since_ns, "limit": limit},
        )
        found: dict[tuple[str, str], list[str]] = {}
        for run_id, project, session, _ in rows:
            found.setdefault((project, session), []).append(run_id)
        return found


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


def _within(column: str) -> str:
    """The run's hours, so that only their part of the table is read."""
    return (
        f"toStartOfHour({column}) BETWEEN fromUnixTimestamp64Second({{from_s:Int64}}, 'UTC')"
        " AND fromUnixTimestamp64Second({to_s:Int64}, 'UTC')"
    )


def _hours(run: Run) -> dict[str, int]:
    first = run.start_ns // 10**9 // HOUR_S * HOUR_S
    last = max(run.start_ns, run.end_ns) // 10**9 // HOUR_S * HOUR_S
    return {"from_s": first, "to_s": last}


def _conditions(wanted: RunFilter, now_ns: int) -> tuple[list[str], dict[str, Any]]:
    conditions = ["Tenant = {tenant:String}"]
    values = base_values(wanted.tenant, now_ns)
    if wanted.since_ns is not None:
        conditions.append("Start >= fromUnixTimestamp64Nano({since_ns:Int64}, 'UTC')")
        values["since_ns"] = wanted.since_ns
    if wanted.until_ns is not None:
        conditions.append("Start < fromUnixTimestamp64Nano({until_ns:Int64}, 'UTC')")
        values["until_ns"] = wanted.until_ns
    if wanted.where != ALWAYS:
        conditions.append(condition_sql(wanted.where, Sql(values, wanted.since_ns)))
    if not wanted.include_all:
        conditions.append("NOT SetupOnly AND DuplicateOf = ''")
    return conditions, values


# The comparison of Start alone lets the engine skip parts of the table, which that of the pairs does not.
_OLDER = (
    "Start <= fromUnixTimestamp64Nano({cursor_ns:Int64}, 'UTC')"
    " AND (toUnixTimestamp64Nano(Start), RunId) < ({cursor_ns:Int64}, {cursor_id:String})"
)
