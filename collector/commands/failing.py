"""How commands end when something is wrong: exit codes, and a line for each reason."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

FINDING, NOT_FOUND, NOT_ALLOWED, NO_CONNECTION, TIMED_OUT = 1, 3, 4, 5, 6
"""Exit codes of commands that ask a collector, beside 0 and click's 2 for a wrong command line."""
EX_DATAERR, EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG = 65, 69, 75, 78
"""Of sysexits."""


def fail(message: str, code: int) -> NoReturn:
    """Says why, a line for each thing, and ends the program."""
    for line in message.splitlines():
        click.echo(f"eddyline: {line}", err=True)
    sys.exit(code)
