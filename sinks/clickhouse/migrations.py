"""Numbered schema steps (`schema/NNNN_name.sql`), applied in order and written down in the database.

Each statement can be run again, so a step that a crash cut short is simply repeated. Of several collectors that come to
a server's database at once one applies the steps, and the others wait for it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import resources
from typing import Any

from sinks.base import PermanentError, SinkError, WrongStoreError
from sinks.clickhouse.errors import translated
from sinks.clickhouse.layout import DATABASE, Layout

LOCK = "schema_lock"
"""A table that is there while somebody applies steps: of two who make it, one succeeds."""
LOOK_S = 0.2
FAILURES = 5
GIVEN_UP_S = 60
"""Who holds the lock and finishes no step for so long, by the store's clock, is gone."""

Query = Callable[[str], Sequence[Sequence[Any]]]

_BOOK = (
    f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic",
    f"""CREATE TABLE IF NOT EXISTS {DATABASE}.schema_migrations
(
    Version    UInt32,
    Name       String,
    Checksum   String,
    State      LowCardinality(String),
    AppVersion String,
    AppliedAt  DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(AppliedAt)
ORDER BY Version""",
)


class SchemaError(PermanentError):
    """The database was written by another version of the schema than this code knows."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        text = re.sub(r"(?m)^[ \t]*--.*\n", "", self.text)
        return [part.strip() for part in re.split(r";\n(?:\n|$)", text) if part.strip()]


def migrations() -> Sequence[Migration]:
    """All known steps, lowest version first."""
    found = []
    for file in resources.files(__package__).joinpath("schema").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def pending(query: Query, *, app_version: str, steps: Sequence[Migration] | None = None) -> list[Migration]:
    """Steps that are not applied yet.

    Raises:
        SchemaError: the database is newer than this code, or an applied step has another text here.
    """
    steps = migrations() if steps is None else steps
    if not query(f"SELECT 1 FROM system.tables WHERE database = '{DATABASE}' AND name = 'schema_migrations'"):
        return list(steps)
    rows = query(
        "SELECT Version, argMax(Checksum, AppliedAt), argMax(State, AppliedAt), argMax(AppVersion, AppliedAt)"
        f" FROM {DATABASE}.schema_migrations GROUP BY Version ORDER BY Version"
    )
    known = {step.version: step for step in steps}
    done = set()
    for version, checksum, state, writer in rows:
        if version not in known:
            raise SchemaError(
                f"the database has schema {version}, written by eddyline {writer}; this is {app_version}, "
                f"which knows up to {max(known)}: use that version or a newer one"
            )
        if state == "done":
            if checksum != known[version].checksum:
                raise SchemaError(f"schema {version} was applied with another text than this version has")
            done.add(version)
    return [step for step in steps if step.version not in done]


def statements(steps: Sequence[Migration], layout: Layout) -> list[str]:
    """What applying these steps runs, but for what is written down of them."""
    return [
        rendered
        for version, step in ((0, _BOOK), *((step.version, step.statements) for step in steps))
        for statement in step
        for rendered in layout.schema(statement, version)
    ]


def migrate(
    command: Callable[..., Any],
    query: Query,
    *,
    app_version: str,
    steps: Sequence[Migration] | None = None,
    layout: Layout | None = None,
    shared: bool = False,
) -> list[Migration]:
    """Brings the database to the newest step; returns the steps that were applied.

    `command` runs one statement, with bound `parameters` if it has any; `query` returns rows; `shared` says that others
    may do the same.

    Raises:
        SchemaError: as `pending` says.
    """
    layout = layout or Layout()
    if not pending(query, app_version=app_version, steps=steps):
        return []
    for statement in _BOOK:
        for rendered in layout.schema(statement, 0):
            command(rendered)
    alone: AbstractContextManager[None] = _alone(command, query, layout) if shared else nullcontext()
    with alone:
        missing = pending(query, app_version=app_version, steps=steps)
        for step in missing:
            _note(command, step, "started", app_version)
            for statement in step.statements:
                for rendered in layout.schema(statement, step.version):
                    command(rendered)
            _note(command, step, "done", app_version)
    return missing


@contextmanager
def _alone(command: Callable[..., Any], query: Query, layout: Layout) -> Iterator[None]:
    """Holds the lock; waits for it as long as who holds it gets on."""
    drop = layout.command(f"DROP TABLE IF EXISTS {DATABASE}.{LOCK}")
    failures = 0
    while True:
        try:
            with translated():
                command(layout.command(f"CREATE TABLE {DATABASE}.{LOCK}") + " (Held UInt8) ENGINE = Memory")
            break
        except WrongStoreError:
            raise
        except SinkError:
            held = query(
                "SELECT dateDiff('second', greatest(metadata_modification_time,"
                f" (SELECT max(AppliedAt) FROM {DATABASE}.schema_migrations)), now()) FROM system.tables"
                f" WHERE database = '{DATABASE}' AND name = '{LOCK}'"
            )
            failures = 0 if held else failures + 1
            if failures == FAILURES:
                raise  # it can not be made; once or twice it may just have been given back
            if held and held[0][0] > GIVEN_UP_S:
                command(drop)
        time.sleep(LOOK_S)
    try:
        yield
    finally:
        command(drop)


def _note(command: Callable[..., Any], step: Migration, state: str, app_version: str) -> None:
    command(
        f"INSERT INTO {DATABASE}.schema_migrations (Version, Name, Checksum, State, AppVersion) SELECT"
        " {version:UInt32}, {name:String}, {checksum:String}, {state:String}, {app:String}",
        parameters={
            "version": step.version,
            "name": step.name,
            "checksum": step.checksum,
            "state": state,
            "app": app_version,
        },
    )
