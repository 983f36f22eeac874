"""`eddyline search` and `eddyline explain`: what was said where, and why it was understood so."""

from __future__ import annotations

import sys
from typing import Any

import click

from collector.commands.client import Client, Query, segment
from collector.commands.failing import NOT_FOUND, fail
from collector.commands.options import asking
from collector.commands.output import listing, shown_as, write_json, write_rows
from collector.commands.run_ids import whole_id

HIT_COLUMNS = ("time", "run_id", "found", "kind", "name", "event_id")


@click.command()
@click.argument("text", nargs=-1, required=True)
@listing(50)
@click.option(
    "--in", "places", default="", help="input, output, tool, error; several by commas. [everywhere]"
)
@click.option("--filter", "narrowed", default="", help="Of these runs: project=shop&model=gpt-4o*.")
@shown_as(HIT_COLUMNS)
@asking
def search(
    text: tuple[str, ...],
    since: str,
    until: str,
    limit: int,
    everything: bool,
    places: str,
    narrowed: str,
    form: str | None,
    columns: str,
    client: Client,
) -> None:
    """Find events by what was said in them, the newest first.

    TEXT is words and "phrases" that must all be there, in any language. As far as one answer has looked, it says so on
    the standard error; --all goes on until everything was looked through.
    """
    from urllib.parse import parse_qsl

    asked: Query = {
        **dict(parse_qsl(narrowed)),
        "q": " ".join(f'"{one}"' if " " in one and '"' not in one else one for one in text),
        "in": places,
        "since": since,
        "until": until,
    }
    found = client.rows("/search", asked, None if everything else limit)
    write_rows(map(_with_text, found), form, columns, empty="nothing was found")


def _with_text(hit: dict[str, Any]) -> dict[str, Any]:
    """The hit, with what was found in a line."""
    return {**hit, "found": " … ".join(" ".join(snippet["text"].split()) for snippet in hit["snippets"])}


@click.command()
@click.argument("event")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    help="[default: table on a terminal, else json]",
)
@click.option("--raw", is_flag=True, help="As it was received, in OTLP/JSON, instead.")
@asking
def explain(event: str, form: str | None, raw: bool, client: Client) -> None:
    """Say why an event looks as it does.

    Which conventions showed, where each field came from, what was not read.
    EVENT is its id, or a span's: RUN/SPAN where several runs have it.
    """
    run_id, slash, event_id = event.rpartition("/")
    event_id = event_id if "." in event_id else f"{event_id}.end"
    path = ("/runs" + segment(whole_id(client, run_id)) if slash else "") + "/events" + segment(event_id)
    if raw:
        write_json(client.get(path + "/raw"))
        return
    mapping = client.get(path + "/mapping")
    if (form or ("table" if sys.stdout.isatty() else "json")) == "json":
        write_json(mapping)
        return
    from collector.understanding.mapping import table_lines

    if not mapping:
        fail(f"there is nothing to say of {event}", NOT_FOUND)
    for line in table_lines({"spans": [mapping], "logs": [], "runs": []}):
        click.echo(line)
