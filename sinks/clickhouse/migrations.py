"""Numbered schema steps (`schema/NNNN_name.sql`), applied in order and written down in the database.

Each statement can be run again, so a step that a crash cut short is simply repeated.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from sinks.base import PermanentError

DATABASE = "otel"

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
        text = re.sub(r"(?m)^\s*--.*\n", "", self.text)
        return [part.strip() for part in re.split(r";\n(?:\n|$)", text) if part.strip()]


def migrations() -> Sequence[Migration]:
    """All known steps, lowest version first."""
    found = []
    for file in resources.files(__package__).joinpath("schema").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def migrate(
    command: Callable[..., Any],
    query: Callable[[str], Sequence[Sequence[Any]]],
    *,
    app_version: str,
    steps: Sequence[Migration] | None = None,
) -> list[Migration]:
    """Brings the database to the newest step; returns the steps that were applied.

    `command` runs one statement, with bound `parameters` if it has any; `query` returns rows.

    Raises:
        SchemaError: the database is newer than this code, or an applied step has another text here.
    """
    steps = migrations() if steps is None else steps
    for statement in _BOOK:
        command(statement)
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
    applied = [step for step in steps if step.version not in done]
    for step in applied:
        _note(command, step, "started", app_version)
        for statement in step.statements:
            command(statement)
        _note(command, step, "done", app_version)
    return applied


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
