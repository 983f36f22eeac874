"""`eddyline profile`: several collectors by name, for the commands that ask one."""

from __future__ import annotations

import sys
from typing import Any

import click

from collector.commands.failing import NOT_FOUND, fail


@click.group()
def profile() -> None:
    """Collectors by name, for the commands that ask one.

    That is the one of --profile or EDDYLINE_PROFILE, else the one in use, else the one that runs here.
    """


@profile.command("set")
@click.argument("name")
@click.option("--url", required=True, help="Address of its API.")
@click.option("--token", default="", help="Its token. [asked for on a terminal, else read from the input]")
def set_profile(name: str, url: str, token: str) -> None:
    """Keep a collector's address and token under NAME, in a file that its owner alone can read."""
    from collector.profiles import Profile, ProfileError, Profiles

    if not token:
        token = (
            click.prompt("Token", hide_input=True, default="", show_default=False)
            if sys.stdin.isatty()
            else sys.stdin.readline().strip()
        )
    try:
        Profiles.kept().put(Profile(name, url.rstrip("/"), token))
    except ProfileError as error:
        raise click.UsageError(str(error)) from None


@profile.command("use")
@click.argument("name", default="")
def use_profile(name: str) -> None:
    """Ask the collector NAME from now on; without one, that which runs here."""
    _kept(name)
    _profiles().use(name)


@profile.command("ls")
def list_profiles() -> None:
    """List them; the one in use has a star. Tokens are not shown."""
    profiles = _profiles()
    for one in profiles.all():
        click.echo(f"{'*' if one.name == profiles.used else ' '} {one.name}  {one.url}")


@profile.command("rm")
@click.argument("name")
def remove_profile(name: str) -> None:
    """Forget a collector and its token."""
    _kept(name)
    _profiles().remove(name)


def _profiles() -> Any:
    from collector.profiles import Profiles

    return Profiles.kept()


def _kept(name: str) -> None:
    if name and _profiles().get(name) is None:
        fail(f"there is no profile {name!r}", NOT_FOUND)
