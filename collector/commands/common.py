"""What the commands share: options, exit codes, and how they end when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

FINDING, NOT_FOUND, NOT_ALLOWED, NO_CONNECTION, TIMED_OUT = 1, 3, 4, 5, 6
"""Exit codes of commands that ask a collector, beside 0 and click's 2 for a wrong command line."""
EX_DATAERR, EX_UNAVAILABLE, EX_CONFIG = 65, 69, 78
"""Of sysexits."""

Command = TypeVar("Command", bound=Callable[..., Any])


def data_dir_option(purpose: str) -> Callable[[Command], Command]:
    """The option `--data-dir`, with what the command wants there."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="EDDYLINE_DATA_DIR",
        help=f"{purpose} [default: $XDG_DATA_HOME/eddyline]",
    )


URL = click.option(
    "--url", envvar="EDDYLINE_URL", default="", help="API of a collector elsewhere. [the one that runs here]"
)
TOKEN = click.option(
    "--token", envvar="EDDYLINE_TOKEN", default="", help="Its token. [of the one that runs here: its own]"
)


def api_of(url: str, token: str, data_dir: Path | None) -> tuple[str, str]:
    """Address and token of the collector that is asked: the one at `url`, else the one that runs on the data directory,
    whose token is not sent to any other. Ends the program if there is none."""
    from collector.config import default_data_dir
    from collector.endpoints import find, kept_token

    if url:
        return url.rstrip("/"), token
    directory = data_dir or default_data_dir()
    endpoints = find(directory)
    if endpoints is None or not endpoints.api:
        fail("no collector runs here; start one with `eddyline serve`, or give --url", NO_CONNECTION)
    return endpoints.api, token or kept_token(directory) or ""


def fail(message: str, code: int) -> NoReturn:
    """Says why, a line for each thing, and ends the program."""
    for line in message.splitlines():
        click.echo(f"eddyline: {line}", err=True)
    sys.exit(code)
