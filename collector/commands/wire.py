"""`eddyline wire`: looking into wire captures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.commands.common import EX_DATAERR, fail

if TYPE_CHECKING:
    from collector.proxy.wire.records import Record

DIRECTIONS = (
    "inbound_request",
    "outbound_request",
    "inbound_response",
    "outbound_response",
    "stream_start",
    "stream_chunk",
    "stream_end",
)


@click.group()
def wire() -> None:
    """Captures of the LLM proxy's traffic (logging.capture_file)."""


@wire.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option(
    "--direction",
    "directions",
    multiple=True,
    type=click.Choice(DIRECTIONS),
    help="Several times for several.",
)
@click.option("--session", default="", metavar="ID", help="Of this session.")
@click.option("--request", default="", metavar="ID", help="Of this call: metadata.request_id.")
@click.option("--backend", default="", help="To and from this provider.")
@click.option("--model", default="", help="With this model.")
@click.option("--errors", is_flag=True, help="With an error, or a status of 400 and above.")
@click.option(
    "--show",
    type=click.Choice(["text", "json", "summary", "timeline", "issues"]),
    default="text",
    show_default=True,
    help="The records, as JSON lines for jq, what they add up to, a line a call, or what is wrong.",
)
def inspect(
    files: tuple[Path, ...],
    directions: tuple[str, ...],
    session: str,
    request: str,
    backend: str,
    model: str,
    errors: bool,
    show: str,
) -> None:
    """Show records of FILES, captured as JSON lines or CBOR, rotated (.zst) or not."""
    from collector.proxy.wire.encoding import UnreadableError, read_records, to_jsonl, to_text
    from collector.proxy.wire.inspect import Wanted, issue_lines, summary_lines, timeline_lines
    from collector.proxy.wire.records import printable

    wanted = Wanted(directions, session, request, backend, model, errors)
    digests: dict[str, Callable[[Sequence[Record]], Iterator[str]]]
    digests = {"summary": summary_lines, "timeline": timeline_lines, "issues": issue_lines}
    found = []
    for file in files:
        try:
            for record in filter(wanted.fits, read_records(file)):
                if show in digests:
                    found.append(record)
                else:
                    click.echo(to_text(record) if show == "text" else to_jsonl(printable(record)), nl=False)
        except (UnreadableError, OSError) as error:
            fail(str(error), EX_DATAERR)
    if show in digests:
        for line in digests[show](found):
            click.echo(line)
