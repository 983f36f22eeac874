"""`eddyline runs rm`: deletion from a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from collector.commands.failing import NOT_FOUND, fail
from collector.commands.options import asking
from collector.commands.run_ids import whole_id

if TYPE_CHECKING:
    from collector.commands.client import Client

TELL_EVERY_S = 5.0
LOOK_S = 0.3


@click.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN]...")
@click.option("--user", help="All runs of this user.")
@click.option("--session", help="All runs of this session.")
@click.option("--project", help="Runs of this project only.")
@click.option("--before", help="Runs that began before: an RFC 3339 time, or like -30d.")
@click.option("--reason", default="", help="Kept with the receipt.")
@click.option("--dry-run", is_flag=True, help="Only say how much that is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@asking
def rm(
    run_ids: tuple[str, ...],
    reason: str,
    dry_run: bool,
    yes: bool,
    client: Client,
    **chosen: str | None,
) -> None:
    """Delete runs from every table, the journal and the dead letters, and show the receipt.

    What comes of them later is refused. With several options, all must hold.
    """
    filtered: dict[str, Any] = {name: value for name, value in chosen.items() if value}
    if run_ids:
        filtered["run_ids"] = [whole_id(client, run_id) for run_id in run_ids]
    if not filtered:
        raise click.UsageError("say which: a run's id, or one of --user, --session, --project, --before")
    found = client.post("/deletions", {"filter": filtered, "dry_run": True})["matched"]
    said = ", ".join(f"{count} {kind}" for kind, count in found.items())
    if dry_run:
        click.echo(said)
        return
    if not found["runs"]:
        fail("there are no such runs", NOT_FOUND)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"this deletes {said}: say --yes")
        click.confirm(f"Delete {said}?", abort=True)
    _show(_purged(client, client.post("/deletions", {"filter": filtered, "reason": reason})))


def _purged(client: Client, receipt: dict[str, Any]) -> dict[str, Any]:
    """The receipt once nothing is left. Nobody can read the runs meanwhile; what is waited for is told."""
    told_at = time.monotonic()
    while receipt["state"] != "purged":
        time.sleep(LOOK_S)
        if time.monotonic() - told_at > TELL_EVERY_S:
            told_at = time.monotonic()
            click.echo(
                f"{receipt['deletion_id']} is {receipt['state']} and waits for {receipt['waits_for']}",
                err=True,
            )
        receipt = client.get(f"/deletions/{receipt['deletion_id']}")
    return receipt


def _show(receipt: dict[str, Any]) -> None:
    click.echo(f"{receipt['deletion_id']}  purged at {receipt['purged_at']}")
    for kind, count in receipt["matched"].items():
        left = receipt["verified"].get(kind)
        click.echo(f"  {count} {kind}" + ("" if left is None else f", {left} left"))
    click.echo(f"  not covered: {', '.join(receipt['not_covered'])}")
