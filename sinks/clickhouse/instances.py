"""Which collectors share a store. Only the store's clock is asked, so that theirs need not agree."""

from __future__ import annotations

from dataclasses import dataclass

from sinks.clickhouse.columns import FLAG, TEXT, TIME, arrow_array
from sinks.clickhouse.store import Store

DEAD_AFTER_S = 10
"""Seconds without a beat after which a collector is dead."""
REMEMBERED_S = 600
"""Seconds for which a dead one is told of."""


@dataclass(frozen=True, slots=True)
class Instance:
    name: str
    is_alive: bool
    swept_to_ns: int
    """It has looked at those of its runs that were stored before."""


class Instances:
    """The collectors of one store. May be used from any number of threads.

    Raises: RetryableError, if the store can not be reached.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def now_ns(self) -> int:
        """By the store's clock."""
        return int(self._store.query("SELECT toUnixTimestamp64Nano(now64(9))")[0][0])

    def beat(self, name: str, swept_to_ns: int, *, leaves: bool = False) -> None:
        """Says that a collector lives, and how far it has come; or that this was its last word."""
        import pyarrow as pa

        row = {
            "Instance": arrow_array(TEXT, [name]),
            "SweptTo": arrow_array(TIME, [swept_to_ns]),
            "HasLeft": arrow_array(FLAG, [leaves]),
        }
        batch = pa.record_batch(row)
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, batch.schema) as writer:
            writer.write_batch(batch)
        self._store.insert_arrow("instances", list(row), stream.getvalue().to_pybytes())

    def all(self) -> list[Instance]:
        """Those that live and those that died lately, by name."""
        rows = self._store.query(
            """
            SELECT Instance, max(Beat) > now64(6) - toIntervalSecond({dead_after:UInt32}) AND NOT argMax(HasLeft, Beat),
                toUnixTimestamp64Nano(argMax(SweptTo, Beat))
            FROM otel.instances WHERE Beat > now64(6) - toIntervalSecond({remembered:UInt32})
            GROUP BY Instance ORDER BY Instance
            """,
            {"dead_after": DEAD_AFTER_S, "remembered": REMEMBERED_S},
        )
        return [Instance(name, bool(alive), swept_to) for name, alive, swept_to in rows]
