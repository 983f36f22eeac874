"""`eddyline wire` and `eddyline mock-llm`: looking into what the proxy captured, and playing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.commands.failing import EX_DATAERR, EX_UNAVAILABLE, fail

if TYPE_CHECKING:
    from collector.proxy.wire.records import Record

DIRECTIONS = (
    "inbound_request",
    "outbound_request",
    "inbound_response",
    "outbound_response",
    "stream_start",
    "stream_chunk",
    "ws_frame",
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


@click.command("mock-llm")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--listen", "endpoint", default="127.0.0.1:31400", show_default=True, metavar="HOST:PORT")
@click.option(
    "--speed",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    help="How many times as fast as recorded streams are played.",
)
@click.option("--no-delay", is_flag=True, help="Play streams without any pause.")
@click.option(
    "--strict", is_flag=True, help="Answer only what was asked in the same words when it was recorded."
)
def mock_llm(files: tuple[str, ...], endpoint: str, speed: float, no_delay: bool, strict: bool) -> None:
    """Play recorded calls as a provider would, for tests without a network.

    FILES are exports of `/api/v1/exchanges/export`. A request gets the answer that was recorded for it, else the next
    one for its path.
    """
    import asyncio

    from collector.doors.listening import ListenError
    from collector.proxy.mock import MockProvider, RecordingError, read_recordings, serve

    recordings = []
    for file in files:
        with click.open_file(file, "rb") as stream:
            try:
                found, skipped = read_recordings(stream)
            except RecordingError as error:
                fail(f"{file}: {error}", EX_DATAERR)
        recordings += found
        if skipped:
            click.echo(f"eddyline: {file}: {skipped} calls have no answer that was kept", err=True)
    provider = MockProvider(recordings, speed=None if no_delay else speed, strict=strict)
    told = f"{len(recordings)} recorded calls"
    try:
        asyncio.run(
            serve(provider, endpoint, lambda url: click.echo(f"eddyline mock-llm plays {told}: {url}"))
        )
    except (ListenError, ValueError) as error:
        fail(str(error), EX_UNAVAILABLE)
