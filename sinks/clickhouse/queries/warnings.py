"""Warnings of a run, of threads, and of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mappers.model import DEFAULT_TENANT, Warning
from sinks.clickhouse.columns import WARNINGS, read_warning, selection
from sinks.clickhouse.queries.base import Queries


@dataclass(frozen=True, slots=True)
class WarningFilter:
    """Which warnings. Alternatives within a field, all fields together; times, of the newest event of a warning,
    are half-open [since, until)."""

    tenant: str = DEFAULT_TENANT
    within_project: str = ""
    """The only project that is looked at, whatever `projects` asks for; all if empty."""
    types: Sequence[str] = ()
    categories: Sequence[str] = ()
    severities: Sequence[str] = ()
    states: Sequence[str] = ("active", "resolved")
    projects: Sequence[str] = ()
    runs: Sequence[str] = ()
    sessions: Sequence[str] = ()
    tools: Sequence[str] = ()
    primary_only: bool = False
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class WarningPage:
    warnings: Sequence[Warning]
    next_cursor: tuple[int, str, str] | None
    """(last_ns, run_id, warning_id) of the last one, if more follow."""


class WarningQueries(Queries):
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
        conditions, values = _conditions(wanted)
        if cursor is not None:
            conditions.append(
                "(toUnixTimestamp64Nano(LastSeen), RunId, WarningId)"
                " < ({cursor_ns:Int64}, {cursor_run:String}, {cursor_id:String})"
            )
            values |= {"cursor_ns": cursor[0], "cursor_run": cursor[1], "cursor_id": cursor[2]}
        rows = self._store.query(
            f"""
            SELECT {selection(WARNINGS)} FROM
            (
                SELECT * FROM otel.loop_warnings WHERE Tenant = {{tenant:String}}
                ORDER BY IngestedAt DESC LIMIT 1 BY RunId, WarningId
            )
            WHERE {" AND ".join(conditions) or "1"}
            ORDER BY toUnixTimestamp64Nano(LastSeen) DESC, RunId DESC, WarningId DESC LIMIT {{limit:UInt32}}
            """,
            {**values, "tenant": wanted.tenant, "limit": limit + 1},
        )
        found = [read_warning(row) for row in rows[:limit]]
        last = found[-1] if len(rows) > limit else None
        return WarningPage(found, (last.last_ns, last.run_id, last.warning_id) if last else None)

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


def _conditions(wanted: WarningFilter) -> tuple[list[str], dict[str, Any]]:
    conditions: list[str] = []
    values: dict[str, Any] = {}
    for name, column, alternatives in (
        ("types", "Type", wanted.types),
        ("categories", "Category", wanted.categories),
        ("severities", "Severity", wanted.severities),
        ("states", "State", wanted.states),
        ("projects", "Project", wanted.projects),
        ("runs", "RunId", wanted.runs),
        ("sessions", "SessionId", wanted.sessions),
        ("tools", "Tool", wanted.tools),
    ):
        if alternatives:
            conditions.append(f"{column} IN {{{name}:Array(String)}}")
            values[name] = list(alternatives)
    if wanted.within_project:
        conditions.append("Project = {within_project:String}")
        values["within_project"] = wanted.within_project
    if wanted.primary_only:
        conditions.append("Primary")
    for name, operator, at_ns in (("since_ns", ">=", wanted.since_ns), ("until_ns", "<", wanted.until_ns)):
        if at_ns is not None:
            conditions.append(f"LastSeen {operator} fromUnixTimestamp64Nano({{{name}:Int64}}, 'UTC')")
            values[name] = at_ns
    return conditions, values
