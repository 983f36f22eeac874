"""Options that commands share, and which collector they ask."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from collector.commands.failing import FINDING, NO_CONNECTION, NOT_FOUND, fail

Command = TypeVar("Command", bound=Callable[..., Any])


def data_dir_option(purpose: str) -> Callable[[Command], Command]:
    """The option `--data-dir`, with what the command wants there."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="EDDYLINE_DATA_DIR",
        help=f"{purpose} [default: ~/.local/share/eddyline, or where XDG_DATA_HOME says]",
    )


URL = click.option(
    "--url", envvar="EDDYLINE_URL", default="", help="API of a collector elsewhere. [the one that runs here]"
)
TOKEN = click.option(
    "--token", envvar="EDDYLINE_TOKEN", default="", help="Its token. [of the one that runs here: its own]"
)


PROFILE = click.option(
    "--profile", envvar="EDDYLINE_PROFILE", default="", help="A collector by its name in `eddyline profile`."
)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the `client` that asks the collector of its options."""

    @wraps(command)
    def asked(url: str, token: str, profile: str, data_dir: Path | None, **given: Any) -> None:
        from collector.commands.client import Client

        command(client=Client(*api_of(url, token, data_dir, profile)), **given)

    for option in (
        data_dir_option("Where the collector that runs here keeps its data."),
        PROFILE,
        TOKEN,
        URL,
    ):
        asked = option(asked)
    return asked


def api_of(url: str, token: str, data_dir: Path | None, profile: str = "") -> tuple[str, str]:
    """Address and token of the collector that is asked: the one at `url`, else that of a profile, else the one that
    runs on the data directory. A token is sent to no other than whose it is. Ends the program if there is none."""
    from collector.config import default_data_dir
    from collector.process.endpoints import find, kept_token
    from collector.profiles import ProfileError, Profiles

    if url:
        return (url if "://" in url else f"http://{url}").rstrip("/"), token
    if data_dir is None or profile:
        try:
            profiles = Profiles.kept()
        except ProfileError as error:
            fail(str(error), FINDING)
        if name := profile or profiles.used:
            kept = profiles.get(name)
            if kept is None:
                fail(f"there is no profile {name!r}; `eddyline profile ls` lists them", NOT_FOUND)
            return kept.url, token or kept.token
    directory = data_dir or default_data_dir()
    endpoints = find(directory)
    if endpoints is None or not endpoints.api:
        fail("no collector runs here; start one with `eddyline serve`, or give --url", NO_CONNECTION)
    return endpoints.api, token or kept_token(directory) or ""
