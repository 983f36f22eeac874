"""Runs: pages of them, single ones, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mappers.model import Run
from sinks.clickhouse.columns import RUNS, read_run, selection
from sinks.clickhouse.conditions import Lookups
from sinks.clickhouse.queries.byvalue import INDEXED, ByValueQueries, Cursor, older
from sinks.clickhouse.queries.selecting import RunFilter, newest_runs, run_conditions

SURPLUS = 4
"""Rows looked at for each run of a page: some are older versions."""
WIDTHS_NS = (3_600 * 10**9, 86_400 * 10**9)
"""Times before the newest run, or the cursor, that are looked at before all."""


class Order(StrEnum):
    """By what runs are sorted, largest first and unknown last; the value is the sort key as SQL."""

    START = "toUnixTimestamp64Nano(Start)"
    COST = "toFloat64(ifNull(CostUsd, -1))"
    TOKENS = "ifNull(InputTokens, 0) + ifNull(OutputTokens, 0)"
    DURATION = "DurationNs"
    WARNINGS = "Warnings"
    ACTIVITY = "toUnixTimestamp64Nano(End)"


@dataclass(frozen=True, slots=True)
class Page:
    runs: Sequence[Run]
    next_cursor: Cursor | None
    """Set if more follow."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Runs that may match: some version of them does."""

    wanted: RunFilter
    run_ids: Sequence[str]
    edge_ns: int | None
    """Only runs that began from then on are looked at; None: all."""
    answers: Sequence[Sequence[str]]
    """Which of them other tables said yes of, as `Lookups` has it."""
    scattered: bool = False
    """They may be of all times."""


class RunQueries(ByValueQueries):
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
        runs: list[Run] = []
        rows = limit * SURPLUS
        searching = True
        if walked := self.latest_by_value(wanted, limit + 1, cursor, now_ns):
            runs += walked.runs
            cursor, searching = walked.cursor, walked.cursor is not None
        while searching and len(runs) <= limit:
            window = self._window(wanted, cursor, rows, limit, now_ns)
            runs += self._current(window, cursor, now_ns)
            if window.edge_ns is None:
                break
            cursor = window.edge_ns, ""
            rows *= 2  # versions crowd the window
        page = runs[:limit]
        more = len(runs) > limit
        return Page(page, (page[-1].start_ns, page[-1].run_id) if more else None)

    def _window(
        self, wanted: RunFilter, cursor: Cursor | None, rows: int, limit: int, now_ns: int
    ) -> _Window:
        """The next rows that match. Most questions are answered by the last hour or day, and what the table's key
        leaves out needs not be looked at."""
        newest_ns = int(cursor[0]) if cursor is not None else self._newest_start_ns(now_ns)
        for width_ns in WIDTHS_NS:
            edge_ns = newest_ns - width_ns
            if edge_ns <= (wanted.since_ns or 0):
                break
            window = self._rows(replace(wanted, since_ns=edge_ns), cursor, rows, now_ns)
            if len(window.run_ids) > limit:
                return window if window.edge_ns is not None else replace(window, edge_ns=edge_ns)
        # Only the key of the order is read of all rows, and only then more of those in front. Rows far apart cost each
        # a part of the table when they are read whole: no more of them than a page needs.
        conditions, values = run_conditions(wanted, now_ns)
        found = self._store.query(
            f"SELECT toUnixTimestamp64Nano(Start) FROM otel.runs"
            f" WHERE {' AND '.join([*conditions, *older(cursor, values)])}"
            " ORDER BY Start DESC LIMIT 1 OFFSET {rows:UInt32}",
            values | {"rows": rows // SURPLUS + 1},
        )
        if not found:
            return replace(self._rows(wanted, cursor, None, now_ns), scattered=True)
        window = self._rows(replace(wanted, since_ns=found[0][0]), cursor, None, now_ns)
        return replace(window, edge_ns=found[0][0], scattered=True)

    def _newest_start_ns(self, now_ns: int) -> int:
        """When the newest run of all began; the engine knows it without reading. Clocks of others may be ahead."""
        return min(
            now_ns, int(self._store.query("SELECT toUnixTimestamp64Nano(max(Start)) FROM otel.runs")[0][0])
        )

    def _rows(self, wanted: RunFilter, cursor: Cursor | None, rows: int | None, now_ns: int) -> _Window:
        """Runs of the first `rows` rows that match, or of all. If there are more rows, the window's edge is set."""
        lookups = Lookups()
        conditions, values = run_conditions(wanted, now_ns, lookups=lookups)
        limited = "" if rows is None else f"ORDER BY Start DESC LIMIT {rows} WITH TIES"
        found = self._store.query(
            f"""
            SELECT {", ".join(["RunId", "toUnixTimestamp64Nano(Start)", *lookups.questions])} FROM otel.runs
            WHERE {" AND ".join([*conditions, *older(cursor, values)])} {limited}
            """,
            values,
        )
        edge_ns = None if rows is None or len(found) < rows else found[-1][1]
        answers = [
            list({row[0] for row in found if row[place]}) for place in range(2, 2 + len(lookups.questions))
        ]
        return _Window(wanted, list(dict.fromkeys(row[0] for row in found)), edge_ns, answers)

    def _current(self, window: _Window, cursor: Cursor | None, now_ns: int) -> list[Run]:
        """The window's runs whose newest version matches and lies in it, in order."""
        if not window.run_ids:
            return []
        wanted = window.wanted if window.edge_ns is None else replace(window.wanted, since_ns=window.edge_ns)
        conditions, values = run_conditions(
            wanted, now_ns, among=window.run_ids, lookups=Lookups(answers=window.answers)
        )
        packed = window.scattered and self._index.until_us() is not None
        rows = self._store.query(
            f"""
            SELECT {" AND ".join([*conditions, *older(cursor, values)])}, {"RunId" if packed else selection(RUNS)}
            FROM otel.runs
            WHERE Tenant = {{tenant:String}} AND RunId IN {{among:Array(String)}}
            ORDER BY Version DESC LIMIT 1 BY RunId
            SETTINGS use_skip_indexes = {int(len(window.run_ids) < INDEXED)}
            """,
            values,
        )
        if packed:
            found = self.runs_by_id(wanted.tenant, [run_id for matches, run_id in rows if matches])
            runs = list(found.values())
        else:
            runs = [self._read(row) for matches, *row in rows if matches]
        return sorted(runs, key=lambda run: (run.start_ns, run.run_id), reverse=True)

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

    def count_runs(self, wanted: RunFilter, now_ns: int, exact: bool) -> int:
        """How many runs match; an estimate counts those that match in any version, to about a per cent."""
        conditions, values = run_conditions(wanted, now_ns)
        if exact:
            query = f"SELECT count() FROM ({newest_runs(conditions, narrow=wanted.narrow)})"
        else:
            query = f"SELECT uniq(RunId) FROM otel.runs WHERE {' AND '.join(conditions)}"
        return int(self._store.query(query, values)[0][0])

    def runs_with_rows(self, tenant: str, run_ids: Sequence[str]) -> set[str]:
        """Those of these runs that were settled and stored."""
        rows = self._store.query(
            "SELECT DISTINCT RunId FROM otel.runs WHERE Tenant = {tenant:String}"
            " AND RunId IN {runs:Array(String)}",
            {"tenant": tenant, "runs": list(run_ids)},
        )
        return {run_id for (run_id,) in rows}

    def run(self, tenant: str, run_id: str) -> Run | None:
        rows = self._store.query(
            f"SELECT {selection(RUNS)} FROM otel.runs WHERE Tenant = {{tenant:String}} AND RunId = {{run:String}}"
            " ORDER BY Version DESC LIMIT 1",
            {"tenant": tenant, "run": run_id},
        )
        return self._read(rows[0]) if rows else None

    def _read(self, row: Sequence[Any]) -> Run:
        """A run, with what people say of it if they do."""
        return self._with_said(read_run(row))

    def count_since(self, tenant: str, since_ns: int, until_ns: int) -> int:
        """How many runs began in that time."""
        rows = self._store.query(
            """
            SELECT uniqExact(RunId) FROM otel.runs WHERE Tenant = {tenant:String}
                AND Start >= fromUnixTimestamp64Nano({since_ns:Int64}, 'UTC')
                AND Start < fromUnixTimestamp64Nano({until_ns:Int64}, 'UTC')
            """,
            {"tenant": tenant, "since_ns": since_ns, "until_ns": until_ns},
        )
        return int(rows[0][0])

    def totals(self, tenant: str | None = None, project: str = "") -> tuple[int, int, int]:
        """Stored spans, events and runs, each counted once: of a tenant (None: of all), of a project ("": of all).

        A crash may have left events whose runs were not written any more. They are later than every run's row, and
        their runs are counted from the events. Of deleted runs there may still be some.
        """
        theirs = "true" if tenant is None else "Tenant = {tenant:String}"
        theirs += " AND (Tenant, RunId) NOT IN (SELECT Tenant, RunId FROM otel.tombstones)"
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
