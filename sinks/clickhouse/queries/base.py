"""What all queries share."""

from __future__ import annotations

from mappers.model import Run
from sinks.clickhouse.annotations import Annotations
from sinks.clickhouse.runindex import RunIndex
from sinks.clickhouse.store import Store

HOUR_S = 3600


class Queries:
    """Queries of one store. May be used from any number of threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.annotations = Annotations(store)
        self._index = RunIndex(store)


def within(column: str) -> str:
    """The run's hours, so that only their part of the table is read."""
    return (
        f"toStartOfHour({column}) BETWEEN fromUnixTimestamp64Second({{from_s:Int64}}, 'UTC')"
        " AND fromUnixTimestamp64Second({to_s:Int64}, 'UTC')"
    )


def hours(run: Run) -> dict[str, int]:
    first = run.start_ns // 10**9 // HOUR_S * HOUR_S
    last = max(run.start_ns, run.end_ns) // 10**9 // HOUR_S * HOUR_S
    return {"from_s": first, "to_s": last}
