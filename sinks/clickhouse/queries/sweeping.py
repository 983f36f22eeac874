"""Which runs were touched lately, whoever stored what touched them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mappers.model import Warning
from sinks.clickhouse.columns import WARNINGS, read_warning, selection
from sinks.clickhouse.queries.base import Queries

COUNTED_S = 300
"""Seconds of rows that are counted: an insert that takes long is seen later than others that began after it."""


class Touched(NamedTuple):
    """A run of which rows were written lately."""

    tenant: str
    run_id: str
    newest_ns: int
    """When the newest row was written."""
    rows: int
    """How many lately. Both together tell whether there is something new."""
    together: str
    """What it has to be looked at with: its session, or conversation; else its own id."""


class SweepQueries(Queries):
    def touched(self, since_ns: int) -> list[Touched]:
        """Runs of which rows were written since then that loops can be found in."""
        rows = self._store.query(
            """
            SELECT Tenant, RunId, toUnixTimestamp64Nano(Newest), Rows, multiIf(
                Session != '', concat('session:', Named, ':', Session),
                Told != '', concat('conversation:', substring(Told, 3, 16)),
                RunId)
            FROM
            (
                SELECT Tenant, RunId, max(IngestedAt) AS Newest, count() AS Rows, max(History) AS Told
                FROM otel.run_events
                WHERE IngestedAt >= fromUnixTimestamp64Nano({counted_ns:Int64}, 'UTC')
                GROUP BY Tenant, RunId
                HAVING Newest >= fromUnixTimestamp64Nano({since_ns:Int64}, 'UTC')
            ) AS touched
            LEFT JOIN
            (
                SELECT Tenant, RunId, argMax(Project, Version) AS Named, argMax(SessionId, Version) AS Session
                FROM otel.runs
                WHERE RunId IN
                (
                    SELECT RunId FROM otel.run_events
                    WHERE IngestedAt >= fromUnixTimestamp64Nano({since_ns:Int64}, 'UTC')
                )
                GROUP BY Tenant, RunId
            ) AS known USING (Tenant, RunId)
            ORDER BY Newest
            """,
            {"since_ns": since_ns, "counted_ns": since_ns - COUNTED_S * 10**9},
        )
        return [Touched(*row) for row in rows]

    def standing(self, tenant: str, run_ids: Sequence[str]) -> list[Warning]:
        """What stands of these runs, whatever thread it was found in."""
        rows = self._store.query(
            f"""
            SELECT {selection(WARNINGS)} FROM
            (
                SELECT * FROM otel.loop_warnings
                WHERE Tenant = {{tenant:String}} AND RunId IN {{runs:Array(String)}}
                ORDER BY IngestedAt DESC LIMIT 1 BY RunId, WarningId
            )
            WHERE State != 'retracted'
            """,
            {"tenant": tenant, "runs": list(run_ids)},
        )
        return [read_warning(row) for row in rows]
