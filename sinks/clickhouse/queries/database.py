"""The database itself: what its tables take, and what it has to do."""

from __future__ import annotations

from typing import Any

from sinks.clickhouse.queries.base import Queries


class DatabaseQueries(Queries):
    def tables(self) -> list[dict[str, Any]]:
        """Every table with its rows, bytes on the disk and parts. Until a merge, a row may be there twice."""
        layout = self._store.layout
        rows = self._store.query(
            f"""
            SELECT t.name, p.Rows, p.Bytes, p.Parts FROM system.tables AS t
            LEFT JOIN
            (
                SELECT table, sum(rows) AS Rows, sum(bytes_on_disk) AS Bytes, count() AS Parts
                FROM {layout.system("parts")} WHERE active AND database = 'otel' GROUP BY table
            ) AS p ON p.table = t.name
            WHERE t.database = 'otel' AND t.engine LIKE '%MergeTree' ORDER BY p.Bytes DESC, t.name
            """
        )
        return [
            {"table": layout.logical(table), "rows": int(count), "bytes": int(size), "parts": int(parts)}
            for table, count, size, parts in rows
        ]

    def schema_version(self) -> int:
        """Number of the newest schema step that is done."""
        rows = self._store.query(
            "SELECT max(Version) FROM (SELECT Version, argMax(State, AppliedAt) AS Last"
            " FROM otel.schema_migrations GROUP BY Version) WHERE Last = 'done'"
        )
        return int(rows[0][0])

    def busy(self) -> tuple[int, int]:
        """Merges that run, and mutations that are not done."""
        merging, mutating = (
            self._store.layout.system(table, every_replica=True) for table in ("merges", "mutations")
        )
        merges = self._store.query(f"SELECT count() FROM {merging} WHERE database = 'otel'")
        mutations = self._store.query(
            f"SELECT count() FROM {mutating} WHERE database = 'otel' AND NOT is_done"
        )
        return int(merges[0][0]), int(mutations[0][0])

    def tenants(self) -> list[str]:
        """Everybody who has runs."""
        return [
            tenant for (tenant,) in self._store.query("SELECT DISTINCT Tenant FROM otel.runs ORDER BY Tenant")
        ]

    def compact(self, table: str) -> None:
        """Merges the table's parts, and so takes out what was replaced. Raises: RetryableError."""
        self._store.command(f"OPTIMIZE TABLE otel.{table} FINAL")
