"""Runs: pages of them, single ones, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mappers.model import Run
from sinks.clickhouse.columns import RUNS, read_run, selection
from sinks.clickhouse.queries.base import Queries
from sinks.clickhouse.queries.selecting import RunFilter, run_conditions

SURPLUS = 4
"""Rows looked at for each run of a page: some are older versions."""


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


class RunQueries(Queries):
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
        conditions, values = run_conditions(wanted, now_ns)
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
        conditions, values = run_conditions(wanted, now_ns)
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

    def run(self, tenant: str, run_id: str) -> Run | None:
        rows = self._store.query(
            f"SELECT {selection(RUNS)} FROM otel.runs WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}}"
            " ORDER BY Version DESC LIMIT 1",
            {"tenant": tenant, "run": run_id},
        )
        return read_run(rows[0]) if rows else None

    def totals(self, tenant: str | None = None, project: str = "") -> tuple[int, int, int]:
        """Stored spans, events and runs, each counted once: of a tenant (None: of all), of a project ("": of all).

        A crash may have left events whose runs were not written any more. They are later than every run's row, and
        their runs are counted from the events.
        """
        theirs = "true" if tenant is None else "Tenant = {tenant:String}"
        rows = self._store.query(
            f"""
            WITH cut_short AS
            (
                SELECT DISTINCT Tenant, RunId FROM otel.run_events
                WHERE {theirs} AND IngestedAt > (SELECT max(DerivedAt) FROM otel.runs)
            )
            SELECT sum(Spans), sum(Events), count() FROM
            (
                SELECT argMax(Spans, Version) AS Spans, argMax(Events, Version) AS Events,
                    argMax(Project, Version) AS OfProject
                FROM otel.runs WHERE {theirs} AND (Tenant, RunId) NOT IN cut_short GROUP BY Tenant, RunId
                UNION ALL
                SELECT uniqExactIf(SpanId, Seq = 0 AND Source != 'log') AS Spans, uniqExact(SpanId, Seq) AS Events,
                    argMin(Project, (NOT IsRoot, StartTime)) AS OfProject
                FROM otel.run_events WHERE {theirs} AND (Tenant, RunId) IN cut_short
                GROUP BY Tenant, RunId HAVING countIf(Part = '') > 0
            )
            WHERE {{project:String}} IN ('', OfProject)
            """,
            {"tenant": tenant or "", "project": project},
        )
        spans, events, runs = rows[0]
        return int(spans), int(events), int(runs)

    def session_runs(
        self, tenant: str, sessions: Sequence[str], since_ns: int, limit: int
    ) -> dict[tuple[str, str], list[tuple[str, int]]]:
        """(id, number of spans) of the latest runs of sessions that began since then, the latest first, by (project,
        session id). Set-ups and duplicates are left out."""
        rows = self._store.query(
            """
            SELECT RunId, argMax(Project, Version) AS Named, argMax(SessionId, Version) AS Session,
                argMax(Start, Version) AS Began, argMax(Spans, Version)
            FROM otel.runs WHERE Tenant = {tenant:String} AND SessionId IN {sessions:Array(String)}
                AND Start >= fromUnixTimestamp64Nano({since_ns:Int64}, 'UTC')
            GROUP BY RunId
            HAVING NOT argMax(SetupOnly, Version) AND argMax(DuplicateOf, Version) = ''
            ORDER BY Began DESC, RunId DESC LIMIT {limit:UInt32} BY Named, Session
            """,
            {"tenant": tenant, "sessions": list(sessions), "since_ns": since_ns, "limit": limit},
        )
        found: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for run_id, project, session, _, spans in rows:
            found.setdefault((project, session), []).append((run_id, spans))
        return found


# The comparison of Start alone lets the engine skip parts of the table, which that of the pairs does not.
_OLDER = (
    "Start <= fromUnixTimestamp64Nano({cursor_ns:Int64}, 'UTC')"
    " AND (toUnixTimestamp64Nano(Start), RunId) < ({cursor_ns:Int64}, {cursor_id:String})"
)
