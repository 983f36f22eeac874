"""Rows that have been kept long enough, counted from when they were written: how many there are, and their deletion.

Rows of pinned runs stay. Parts of which all has expired are dropped; others are written anew without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sinks.base import PermanentError, RetryableError
from sinks.clickhouse.store import Store

HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Kept:
    """A table with rows that expire."""

    table: str
    run_id: str
    written: str
    """Column with the time from which a row's age is counted."""
    counted: bool = True
    """Whether people are told of its rows. Others only say again what rows of another table say."""


KEPT: Mapping[str, Sequence[Kept]] = {
    "spans": (Kept("otel_traces", "TraceId", "IngestedAt"),),
    "logs": (Kept("otel_logs", "RunId", "IngestedAt"),),
    "events": (Kept("run_events", "RunId", "IngestedAt"),),
    "exchanges": (Kept("proxy_exchanges", "TraceId", "IngestedAt"),),
    "runs": (
        Kept("runs", "RunId", "DerivedAt"),
        Kept("run_rows", "RunId", "DerivedAt", counted=False),
        Kept("run_values", "RunId", "DerivedAt", counted=False),
        Kept("loop_warnings", "RunId", "IngestedAt"),
    ),
}
"""By what people call it."""
LARGE = ("spans", "logs", "events", "exchanges")
"""What takes the room, and goes first where room is short."""

_TABLES = [kept.table for tables in KEPT.values() for kept in tables]


class Expiry:
    """Of one store. May be used from any number of threads. Raises: RetryableError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def size_bytes(self) -> int:
        """What the tables take on the disk."""
        return sum(self._sizes().values())

    def _sizes(self) -> dict[str, int]:
        layout = self._store.layout
        rows = self._store.query(
            f"SELECT table, sum(bytes_on_disk) FROM {layout.system('parts')}"
            " WHERE active AND database = 'otel' AND table IN {tables:Array(String)} GROUP BY table",
            {"tables": [layout.physical(table) for table in _TABLES]},
        )
        return {layout.logical(table): int(size) for table, size in rows}

    def expired(self, kind: str, before_s: int) -> int:
        """Rows that were written before then, in seconds since 1970, and are not of a pinned run."""
        return sum(
            int(
                self._store.query(
                    f"SELECT count() FROM otel.{kept.table} WHERE {_old(kept)}", {"before": before_s}
                )[0][0]
            )
            for kept in KEPT[kind]
            if kept.counted
        )

    def totals(self, before_s: int) -> tuple[int, int, int]:
        """What the runs that expire are in `RunQueries.totals`: spans, events, runs."""
        rows = self._store.query(
            f"""
            SELECT sum(S), sum(E), count() FROM
            (
                SELECT argMax(Spans, Version) AS S, argMax(Events, Version) AS E, max(DerivedAt) AS Derived
                FROM otel.runs WHERE {_unpinned("RunId")} GROUP BY Tenant, RunId
                HAVING Derived < fromUnixTimestamp({{before:Int64}})
            )
            """,
            {"before": before_s},
        )
        spans, events, runs = rows[0]
        return int(spans), int(events), int(runs)

    def expire(self, kind: str, before_s: int) -> int:
        """Deletes these rows; returns how many there were."""
        count = self.expired(kind, before_s)
        for kept in KEPT[kind] if count else ():
            self._drop_parts(kept, before_s)
            left = self._store.query(
                f"SELECT count() FROM otel.{kept.table} WHERE {_old(kept)}", {"before": before_s}
            )[0][0]
            if left:
                self._store.command(f"DELETE FROM otel.{kept.table} WHERE {_old(kept)}", {"before": before_s})
                self._store.command(f"ALTER TABLE otel.{kept.table} APPLY DELETED MASK")
        return count

    def _drop_parts(self, kept: Kept, before_s: int) -> None:
        """Drops parts of which all has expired."""
        if self._store.layout.spreads:
            return  # shards have parts of the same name
        rows = self._store.query(
            f"""
            SELECT _part FROM otel.{kept.table} GROUP BY _part
            HAVING max({kept.written}) < fromUnixTimestamp({{before:Int64}})
                AND countIf(NOT {_unpinned(kept.run_id)}) = 0
            """,
            {"before": before_s},
        )
        for (part,) in rows:
            try:
                self._store.command(f"ALTER TABLE otel.{kept.table} DROP PART '{part}'")
            except (PermanentError, RetryableError):
                continue  # merged into another meanwhile, whose rows are deleted one by one

    def enough_before(self, excess_bytes: int, now_s: int) -> int:
        """The time, in whole hours, so that deleting what is large and was written before it frees so many bytes;
        at the latest an hour ago."""
        sizes = self._sizes()
        by_hour: dict[int, float] = {}
        for kind in LARGE:
            for kept in KEPT[kind]:
                rows = self._store.query(
                    f"SELECT toUnixTimestamp(toStartOfHour({kept.written})), count(), countIf({_unpinned(kept.run_id)})"
                    f" FROM otel.{kept.table} GROUP BY 1",
                )
                total = sum(count for _, count, _ in rows) or 1
                for hour, _, unpinned in rows:
                    by_hour[hour] = by_hour.get(hour, 0.0) + sizes.get(kept.table, 0) * unpinned / total
        latest = now_s // HOUR_S * HOUR_S
        for hour in sorted(by_hour):
            excess_bytes -= round(by_hour[hour])
            if excess_bytes <= 0:
                return min(int(hour) + HOUR_S, latest)
        return latest


def _unpinned(run_id: str) -> str:
    return f"(Tenant, {run_id}) NOT IN (SELECT Tenant, RunId FROM otel.annotations FINAL WHERE Pinned)"


def _old(kept: Kept) -> str:
    return f"{kept.written} < fromUnixTimestamp({{before:Int64}}) AND {_unpinned(kept.run_id)}"
