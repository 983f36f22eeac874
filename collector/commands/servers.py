"""`eddyline db migrate`: the schema of a server's database, or of the embedded one, without a collector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.commands.common import EX_CONFIG, EX_UNAVAILABLE, data_dir_option, fail
from collector.commands.config import CONFIG, SETS

if TYPE_CHECKING:
    from collector.config import Settings

_DATA_DIR = data_dir_option("Where the collector keeps its data.")


@click.command()
@CONFIG
@SETS
@_DATA_DIR
@click.option("--dry-run", is_flag=True, help="Print the statements that are missing, and run none.")
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="With --dry-run, all statements, for an empty database; asks no server.",
)
def migrate(
    configs: tuple[str, ...], sets: tuple[str, ...], data_dir: Path | None, *, dry_run: bool, every: bool
) -> None:
    """Bring the schema of the database that the configuration names up to date."""
    from collector.store import EMBEDDED, server_of
    from sinks.base import SinkError
    from sinks.clickhouse import Store

    settings = settings_of(configs, sets, data_dir)
    if every and not dry_run:
        raise click.UsageError("--all is for --dry-run")
    where = server_of(settings.sinks.clickhouse, create_schema=True) or settings.data_dir / EMBEDDED
    try:
        missing = Store.planned(where, every=every)
        if not dry_run and missing:
            Store.open(where).close()
    except SinkError as error:
        fail(f"the store can not be opened: {error}", EX_UNAVAILABLE)
    if dry_run:
        for statement in missing:
            click.echo(f"{statement};\n")
    click.echo(f"{len(missing)} statements" if missing else "the schema is up to date", err=dry_run)


def settings_of(configs: tuple[str, ...], sets: tuple[str, ...], data_dir: Path | None) -> Settings:
    """The configuration; ends the program if it can not be understood."""
    from collector.config import load
    from collector.documents import ConfigError

    try:
        return load(configs, sets=sets, flags={"data_dir": data_dir})
    except ConfigError as error:
        fail(str(error), EX_CONFIG)
