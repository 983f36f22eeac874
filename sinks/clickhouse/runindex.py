"""Two tables that say again what `otel.runs` says: `run_values`, runs by what they can be asked for by, and `run_rows`,
the newest row of each run in one piece (schema step 37 says why).

They are filled beside everything else, with all rows that were written before a certain time; what was written later is
looked for in `otel.runs` itself. That is little but while a store that is older than these tables is worked through:
until then nobody asks them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from sinks.clickhouse.columns import MONEY, RUNS
from sinks.clickhouse.conditions import COLUMNS
from sinks.clickhouse.settings import StoredSettings
from sinks.clickhouse.store import Store

SETTING = "run_index"
"""Rows that were written before then are in the tables, in microseconds."""
FIELDS: Mapping[str, str] = {
    name: COLUMNS[name]
    for name in (
        "project",
        "name",
        "session",
        "user",
        "environment",
        "service",
        "agent",
        "model",
        "tool",
        "tag",
        "convention",
    )
}
"""Fields of filters that `run_values` knows, by the same names, and the columns that hold them."""
LAG_S = 60
"""A row may be seen so long after the time that it says it was written at."""
SLICE = 100_000
"""Rows that are added at a time."""
MOST_FRESH = 50_000
"""With more rows that were written since, nobody asks the tables."""
LOOK_EVERY_S = 5.0
STEP_US = 1_000_000
"""A clock that is so much behind what has passed was set back."""
_BOUNDED = {"max_threads": 1, "max_block_size": 8192, "min_insert_block_size_bytes": 32 << 20}
"""Filling takes its time and little memory."""


def _values_query() -> str:
    fields, values = [], []
    for name, column in FIELDS.items():
        if column.endswith("s"):
            fields.append(f"arrayWithConstant(length({column}), '{name}')")
            values.append(f"CAST({column}, 'Array(String)')")
        else:
            fields.append(f"['{name}']")
            values.append(f"[toString({column})]")
    return (
        "SELECT Tenant, Field, Value, Start, RunId, DerivedAt FROM otel.runs ARRAY JOIN"
        f" arrayConcat({', '.join(fields)}) AS Field, arrayConcat({', '.join(values)}) AS Value WHERE Value != ''"
    )


def _rows_query() -> str:
    packed = (f"toString({column.name})" if column.kind == MONEY else column.expression for column in RUNS)
    return (
        f"SELECT Tenant, RunId, Start, formatRowNoNewline('JSONCompactEachRow', {', '.join(packed)}), Version,"
        " DerivedAt FROM otel.runs WHERE true"
    )


TABLES: Mapping[str, str] = {"run_values": _values_query(), "run_rows": _rows_query()}
"""The tables, and what they are filled with."""


class RunIndex:
    """Of one store. May be used from any number of threads. Raises: RetryableError, from every method."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._settings = StoredSettings(store)
        self._until_us: int | None = None
        self._looked_at = float("-inf")
        self._lock = threading.Lock()
        self._clock: tuple[int, float] | None = None
        """What the store's clock showed when this filled last, in microseconds, and when that was, in seconds."""

    def until_us(self) -> int | None:
        """All rows of `otel.runs` that were written before then are in the tables; None: too few are."""
        with self._lock:
            if time.monotonic() - self._looked_at > LOOK_EVERY_S:
                until_us = self._filled_until_us()
                fresh = self._store.query(
                    "SELECT count() FROM otel.runs WHERE DerivedAt >= fromUnixTimestamp64Micro({until:Int64}, 'UTC')",
                    {"until": until_us},
                )[0][0]
                self._until_us = until_us if fresh <= MOST_FRESH else None
                self._looked_at = time.monotonic()
            return self._until_us

    def fill(self, stop: Callable[[], bool], lag_s: float = LAG_S) -> None:
        """Adds what was written until `lag_s` ago, unless `stop` says so before. Several may do it at one time: the
        same rows replace each other."""
        self._heed_clock()
        while not stop():
            since_us = self._filled_until_us()
            until_us = self._slice_end_us(since_us, lag_s)
            if until_us is None:
                return
            for table in TABLES:
                self._fill(table, since_us, until_us)
            self._settings.put(SETTING, until_us)

    def _heed_clock(self) -> None:
        """After the store's clock was set back, rows are written at times that the tables have already: goes back as
        far."""
        now_us = int(self._store.query("SELECT toUnixTimestamp64Micro(now64(6))")[0][0])
        looked_at = time.monotonic()
        before, self._clock = self._clock, (now_us, looked_at)
        earliest_us = now_us
        if before is not None:
            passed_us = int((looked_at - before[1]) * 1e6)
            if before[0] + passed_us - now_us > STEP_US:
                earliest_us -= passed_us
        if self._filled_until_us() > earliest_us:
            self._settings.put(SETTING, earliest_us - LAG_S * 10**6)

    def _filled_until_us(self) -> int:
        kept = self._settings.get(SETTING)
        return int(kept.value) if kept is not None else 0

    def _slice_end_us(self, since_us: int, lag_s: float) -> int | None:
        """None: there is nothing to add."""
        rows = self._store.query(
            """
            SELECT count(), toUnixTimestamp64Micro(max(DerivedAt)) FROM
            (
                SELECT DerivedAt FROM otel.runs
                WHERE DerivedAt >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
                    AND DerivedAt < now64(6) - toIntervalMillisecond({lag_ms:UInt64})
                ORDER BY DerivedAt LIMIT {most:UInt32}
            )
            """,
            {"since": since_us, "lag_ms": int(lag_s * 1000), "most": SLICE},
        )
        count, last_us = rows[0]
        return int(last_us) + 1 if count else None

    def _fill(self, table: str, since_us: int, until_us: int) -> None:
        settings = _BOUNDED | dict(self._store.layout.write_settings)
        self._store.command(
            f"INSERT INTO otel.{table} {TABLES[table]}"
            " AND DerivedAt >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')"
            " AND DerivedAt < fromUnixTimestamp64Micro({until:Int64}, 'UTC')"
            " AND (Tenant, RunId) NOT IN (SELECT Tenant, RunId FROM otel.tombstones)"
            f" SETTINGS {', '.join(f'{name} = {value}' for name, value in settings.items())}",
            {"since": since_us, "until": until_us},
        )
        # Another collector may have deleted a run meanwhile.
        buried = "(Tenant, RunId) IN (SELECT Tenant, RunId FROM otel.tombstones)"
        if self._store.query(f"SELECT 1 FROM otel.{table} WHERE {buried} LIMIT 1"):
            self._store.command(f"DELETE FROM otel.{table} WHERE {buried}")
            self._store.command(f"ALTER TABLE otel.{table} APPLY DELETED MASK")
