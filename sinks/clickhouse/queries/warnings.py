"""Warnings of runs and of threads."""

from __future__ import annotations

from collections.abc import Sequence

from mappers.model import Warning
from sinks.clickhouse.columns import WARNINGS, read_warning, selection
from sinks.clickhouse.queries.base import Queries
from sinks.clickhouse.warnings import WarningFilter, WarningPage, list_warnings


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
