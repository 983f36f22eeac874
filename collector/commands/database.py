"""`eddyline db`: the database of a collector that runs, from a terminal."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from collector.commands.failing import FINDING, fail
from collector.commands.options import asking
from collector.commands.servers import migrate, move

if TYPE_CHECKING:
    from collector.commands.client import Client

LOOK_S = 0.5
SAY_EVERY_S = 5.0
KINDS = ("spans", "logs", "events", "exchanges", "runs")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@click.group()
def db() -> None:
    """The database: what it holds, how long, and work on it."""


@db.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
@asking
def status(as_json: bool, client: Client) -> None:
    """Show what each table takes, and what the database is doing."""
    found = client.get("/db")
    job = client.get("/db/job")["job"]
    if as_json:
        click.echo(json.dumps(found | {"job": job}, indent=2))
        return
    for table in found["tables"]:
        click.echo(
            f"{table['table']:<26} {table['rows']:>14,} rows {_size(table['bytes']):>10} {table['parts']:>5} parts"
        )
    click.echo(
        f"schema {found['schema_version']}, {_size(found['bytes'])}, {found['merges']} merges,"
        f" {found['mutations']} mutations"
    )
    if job is not None:
        click.echo(f"{job['kind']}: {job['state']}, {job['done']} of {job['total']}")


@db.command()
@click.option(
    "--spans-days", metavar="DAYS", help="Spans as received; `none`: for ever, as for all of these."
)
@click.option("--logs-days", metavar="DAYS", help="Log records as received.")
@click.option("--events-days", metavar="DAYS", help="Events.")
@click.option("--exchanges-days", metavar="DAYS", help="Calls as they passed the proxy.")
@click.option("--runs-days", metavar="DAYS", help="Runs and warnings.")
@click.option("--max-bytes", metavar="SIZE", help="Of all tables, like 50G; beyond that the oldest goes.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@asking
def retention(dry_run: bool, client: Client, **asked: str | None) -> None:
    """Show how long what is kept, or change it; it holds at once. Pinned runs stay.

    Days count from when something came in, not from its own time.
    """
    policy = {name: _number(name, value) for name, value in asked.items() if value is not None}
    if policy:
        found = client.put("/db/retention", policy, {"dry_run": "true" if dry_run else None})
    else:
        found = client.get("/db/retention")
    for kind in KINDS:
        days = found["policy"][f"{kind}_days"]
        kept = "for ever" if days is None else f"{days} days"
        click.echo(f"{kind:<10} {kept:<10} {found['would_delete'][kind]:>12,} rows to be deleted")
    most = found["policy"]["max_bytes"]
    click.echo(f"{'in all':<10} {_size(most) if most else 'no bound':<10} {_size(found['bytes']):>12} now")


@db.command()
@asking
def compact(client: Client) -> None:
    """Merge the parts of every table, and so drop what was replaced."""
    _follow(client, client.post("/db/compact", {}), "tables")


@db.command()
@click.option("--since", required=True, help="Runs that began since then: an RFC 3339 time, or like -7d.")
@asking
def remap(since: str, client: Client) -> None:
    """Map stored spans again, after an upgrade of the mappers. A restart of the collector goes on where it was."""
    _follow(client, client.post("/db/remap", {"since": since}), "runs")


db.add_command(migrate)
db.add_command(move)


def _follow(client: Client, job: dict[str, Any], what: str) -> None:
    """Says how far the job is, until it has ended."""
    began, said_at = time.monotonic(), time.monotonic()
    while job["state"] == "running":
        time.sleep(LOOK_S)
        job = client.get("/db/job")["job"]
        now = time.monotonic()
        if now - said_at > SAY_EVERY_S and job["done"]:
            said_at, rate = now, job["done"] / (now - began)
            left = max(0, job["total"] - job["done"]) / rate
            click.echo(f"{job['done']} of {job['total']} {what}, {rate:.1f}/s, {left:.0f} s left", err=True)
    click.echo(f"{job['state']}: {job['done']} of {job['total']} {what}")
    if job["state"] != "done":
        fail(job["error"] or "it goes on when the collector is started again", FINDING)


def _number(name: str, value: str) -> int | None:
    if value.lower() == "none":
        return None
    unit = value[-1:].upper() if name == "max_bytes" and not value[-1:].isdigit() else ""
    digits = value[: len(value) - len(unit)]
    if unit not in _UNITS or not digits.isdigit():
        raise click.UsageError(f"--{name.replace('_', '-')}: {value!r} is neither a number nor none")
    return int(digits) * _UNITS[unit]


def _size(count: int) -> str:
    if count < 1 << 20:
        return f"{count >> 10} KiB"
    return f"{count / (1 << 20):,.1f} MiB" if count < 1 << 30 else f"{count / (1 << 30):,.1f} GiB"
