"""What the commands share: options, exit codes, and how they end when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

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


def fail(message: str, code: int) -> NoReturn:
    """Says why, a line for each thing, and ends the program."""
    for line in message.splitlines():
        click.echo(f"eddyline: {line}", err=True)
    sys.exit(code)
