"""`eddyline token`: making, listing and revoking API keys, whether a collector runs or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.commands.failing import EX_CONFIG, fail
from collector.commands.options import data_dir_option

if TYPE_CHECKING:
    from collector.doors.keys import Keys

EX_NOT_FOUND = 1
SCOPES = ("ingest", "read", "content", "delete", "admin")

_DATA_DIR = data_dir_option("Where the keys are.")


@click.group()
def token() -> None:
    """API keys: who may send, read, delete."""


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=("ingest",),
    show_default=True,
    help="What it may do; several times for several.",
)
@click.option("--project", default="", help="All it sends and reads belongs to this project.")
@click.option("--tenant", default="", help="Whose data it is, where several share a store.")
@_DATA_DIR
def create(name: str, scopes: tuple[str, ...], project: str, tenant: str, data_dir: Path | None) -> None:
    """Make a key and print it, this once."""
    from collector.doors.keys import Scope

    with _keys(data_dir) as keys:
        key, secret = keys.create(name, [Scope(scope) for scope in scopes], project=project, tenant=tenant)
    click.echo(secret)
    click.echo(f"{key.id} {name}: {', '.join(key.scopes)}; it is not shown again", err=True)


@token.command("ls")
@_DATA_DIR
def list_keys(data_dir: Path | None) -> None:
    """Keys, oldest first."""
    with _keys(data_dir) as keys:
        for key in keys.all():
            shown = key.document()
            where = " ".join(part for part in (key.project, key.tenant and f"({key.tenant})") if part)
            used = shown["last_used_at"] or "never used"
            click.echo(f"{key.id}  {key.name:<20}  {','.join(key.scopes):<20}  {where or '-':<16}  {used}")


@token.command()
@click.argument("key_id")
@_DATA_DIR
def revoke(key_id: str, data_dir: Path | None) -> None:
    """Refuse a key from now on."""
    with _keys(data_dir) as keys:
        if not keys.revoke(key_id):
            fail(f"there is no key {key_id!r}; see `eddyline token ls`", EX_NOT_FOUND)


@contextmanager
def _keys(data_dir: Path | None) -> Iterator[Keys]:
    from collector.config import default_data_dir
    from collector.doors.keys import Keys, KeysError, keys_file

    try:
        yield Keys(keys_file(data_dir or default_data_dir()))
    except KeysError as error:
        fail(str(error), EX_CONFIG)
