"""Deletion in the store itself."""

from __future__ import annotations

from sinks.clickhouse import Store
from sinks.clickhouse.erasing import TABLES, TIMES


def test_every_table_with_rows_of_runs_is_looked_after(store: Store) -> None:
    rows = store.query(
        "SELECT DISTINCT table FROM system.columns WHERE database = 'otel' AND name IN ('RunId', 'TraceId')"
        " AND table IN (SELECT name FROM system.tables WHERE database = 'otel' AND engine LIKE '%MergeTree')"
    )
    assert {table for (table,) in rows} == {*(table for table, _ in TABLES.values()), TIMES, "tombstones"}
