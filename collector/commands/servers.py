"""`eddyline db migrate` and `db move`: work on a database without a collector."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.commands.config import CONFIG, SETS
from collector.commands.failing import EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE, FINDING, NOT_FOUND, fail
from collector.commands.options import data_dir_option

if TYPE_CHECKING:
    from collector.config import Settings
    from sinks.clickhouse.moving import Move, Part

BOOK = "move.json"
"""In the data directory: how far a move has come."""
SAY_EVERY_S = 2.0
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
    from collector.pipeline.store import EMBEDDED, server_of
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


@click.command()
@CONFIG
@SETS
@_DATA_DIR
@click.option(
    "--into-existing",
    is_flag=True,
    help="Also into a database that has rows of others; then only shortfalls show.",
)
def move(
    configs: tuple[str, ...], sets: tuple[str, ...], data_dir: Path | None, *, into_existing: bool
) -> None:
    """Copy the embedded database to the server that the configuration names (sinks.clickhouse.url).

    No collector may run on the data directory meanwhile. What was cut short goes on where it was; what is there already
    changes nothing. In the end the rows of each table are counted on both sides; the embedded database stays."""
    from collector.pipeline.store import EMBEDDED, server_of
    from collector.process.endpoints import find
    from sinks.base import SinkError
    from sinks.clickhouse import Store
    from sinks.clickhouse.moving import Book, Move

    settings = settings_of(configs, sets, data_dir)
    server = server_of(settings.sinks.clickhouse)
    embedded = settings.data_dir / EMBEDDED
    if server is None:
        raise click.UsageError("sinks.clickhouse.url says where to move to")
    if not embedded.is_dir():
        fail(f"there is no embedded database in {settings.data_dir}", NOT_FOUND)
    if find(settings.data_dir) is not None:
        fail(f"a collector runs on {settings.data_dir}: end it first", EX_TEMPFAIL)
    with ExitStack() as opened:
        try:
            kept = Book.open(settings.data_dir / BOOK, server.place)
            source = Store.open(embedded)
            opened.callback(source.close)
            target = Store.open(server)
            opened.callback(target.close)
            book = kept or Book(settings.data_dir / BOOK, server.place, adds=into_existing)
            moving = Move(source, target, book)
            if kept is None and not into_existing and not moving.target_is_empty():
                fail(f"{server.place} has rows already; --into-existing adds to them", FINDING)
            book.keep()
            _copied(moving)
            counts = moving.counts()
        except SinkError as error:
            fail(f"{error}\nmove again: it goes on where it was", EX_UNAVAILABLE)
    short = False
    for count in counts:
        missing = count.target < count.source if book.adds else count.target != count.source
        short = short or missing
        click.echo(
            f"{count.table:<18} {count.source:>14,} here {count.target:>14,} there{'  MISSING' * missing}"
        )
    if short:
        fail("not everything is there", FINDING)
    (settings.data_dir / BOOK).unlink(missing_ok=True)
    click.echo(f"all is there; {embedded} is not used any more once sinks.clickhouse.url is set for good")


def _copied(moving: Move) -> None:
    """Copies what is left, and says how far it is."""
    parts = moving.parts()
    total, done = sum(part.rows for part in parts), 0
    began = said_at = time.monotonic()

    def copied(part: Part, rows: int) -> None:
        nonlocal done, said_at
        done += rows
        now = time.monotonic()
        if now - said_at > SAY_EVERY_S:
            said_at, rate = now, done / (now - began)
            click.echo(
                f"{part.table}: {done:,} of {total:,} rows, {rate:,.0f}/s, {(total - done) / rate:,.0f} s left",
                err=True,
            )

    moving.copy(parts, copied)
    seconds = time.monotonic() - began
    click.echo(f"{done:,} rows copied in {seconds:.1f} s, {done / max(seconds, 1e-9):,.0f}/s", err=True)


def settings_of(configs: tuple[str, ...], sets: tuple[str, ...], data_dir: Path | None) -> Settings:
    """The configuration; ends the program if it can not be understood."""
    from collector.config import ConfigError, load

    try:
        return load(configs, sets=sets, flags={"data_dir": data_dir})
    except ConfigError as error:
        fail(str(error), EX_CONFIG)
