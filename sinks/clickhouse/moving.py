"""Copies what one store holds into another: a part of a table after the other, in pieces.

Rows go as they are, with the time at which they came and the version that they are, so that in the other store the same
ones hold. A piece that is copied again is written again and changes nothing there: rows replace themselves. No
deduplication token spares that: an engine that was killed may know a token without its rows (`absent`). What is copied
is counted in the end, each row once, on both sides.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sinks.base import SinkError
from sinks.clickhouse.runindex import SETTING
from sinks.clickhouse.settings import StoredSettings
from sinks.clickhouse.store import Store, unseen_token

TABLES = (
    "otel_traces",
    "otel_logs",
    "run_events",
    "loop_warnings",
    "runs",
    "proxy_exchanges",
    "annotations",
    "settings",
    "tombstones",
    "deletions",
)
"""In this order, so that a run which can be seen has its events. Others fill themselves, or are of one store only."""
PIECE_BYTES = 8 << 20
MOST_ROWS = 50_000


class MoveError(SinkError):
    """It can not be moved like this."""


@dataclass(frozen=True, slots=True)
class Part:
    table: str
    name: str
    rows: int
    """With those that are deleted or replaced."""
    bytes: int
    """Not compressed."""


@dataclass(slots=True)
class Book:
    """How far a move has come, in a file."""

    path: Path
    target: str
    """What it moves to."""
    done: dict[str, list[str]] = field(default_factory=dict)
    """Parts that are copied, by table."""
    adds: bool = False
    """Whether the target had rows of others."""

    @classmethod
    def open(cls, path: Path, target: str) -> Book | None:
        """The book of a move that was begun; None if there is none.

        Raises: MoveError, if that one goes elsewhere.
        """
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if kept["target"] != target:
            raise MoveError(
                f"a move to {kept['target']} was begun and not finished; finish it, or remove {path}"
            )
        return cls(path, target, kept["done"], kept["adds"])

    def note(self, part: Part) -> None:
        self.done.setdefault(part.table, []).append(part.name)
        self.keep()

    def keep(self) -> None:
        beside = self.path.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"target": self.target, "done": self.done, "adds": self.adds}, file)
            file.flush()
            os.fsync(descriptor)
        beside.rename(self.path)


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of one table, each counted once."""

    table: str
    source: int
    target: int


class Move:
    """From `source`, which nobody else uses, to `target`. Raises: SinkError, from every method."""

    def __init__(self, source: Store, target: Store, book: Book) -> None:
        self._source = source
        self._target = target
        self._book = book

    def parts(self) -> list[Part]:
        """What is left to be copied."""
        for table in TABLES:
            self._source.command(f"SYSTEM STOP MERGES otel.{table}")  # a part keeps its name
        rows = self._source.query(
            "SELECT table, name, rows, data_uncompressed_bytes FROM system.parts"
            " WHERE active AND database = 'otel' AND table IN {tables:Array(String)} ORDER BY name",
            {"tables": list(TABLES)},
        )
        found = [Part(table, name, int(count), int(size)) for table, name, count, size in rows]
        left = [part for part in found if part.name not in self._book.done.get(part.table, ())]
        return sorted(left, key=lambda part: TABLES.index(part.table))

    def copy(self, parts: Sequence[Part], copied: Callable[[Part, int], None]) -> None:
        """Copies them; `copied` is told of the rows of each piece."""
        columns: dict[str, list[str]] = {}
        for part in parts:
            if part.table not in columns:
                columns[part.table] = self._columns(part.table)
            size = max(1, min(MOST_ROWS, PIECE_BYTES * part.rows // max(1, part.bytes)))
            for begin in range(0, part.rows, size):
                self._copy_piece(part, columns[part.table], begin, begin + size)
                copied(part, min(size, part.rows - begin))
            self._book.note(part)
        settings = StoredSettings(self._target)
        if settings.get(SETTING) is not None:
            # The rows say that they were written long ago, and are in none of these tables there.
            settings.put(SETTING, 0)

    def _columns(self, table: str) -> list[str]:
        rows = self._source.query(
            "SELECT name FROM system.columns WHERE database = 'otel' AND table = {table:String}"
            " AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position",
            {"table": table},
        )
        return [name for (name,) in rows]

    def _copy_piece(self, part: Part, columns: Sequence[str], begin: int, end: int) -> None:
        names = ", ".join(f"`{name}`" for name in columns)
        rows = self._source.native(
            f"SELECT {names} FROM otel.{part.table} WHERE _part = '{part.name}'"
            f" AND _part_offset >= {begin} AND _part_offset < {end}"
        )
        if rows:
            self._target.insert_native(part.table, columns, rows, unseen_token())

    def counts(self) -> list[Count]:
        """What both stores have of each table."""
        return [
            Count(table, self._count(self._source, table), self._count(self._target, table))
            for table in TABLES
        ]

    @staticmethod
    def _count(store: Store, table: str) -> int:
        found: Any = store.query(f"SELECT count() FROM otel.{table} FINAL")
        return int(found[0][0])

    def target_is_empty(self) -> bool:
        return not any(self._target.query(f"SELECT 1 FROM otel.{table} LIMIT 1") for table in TABLES)
