"""`eddyline completion` and `eddyline version`."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib import metadata

import click

from collector.commands.output import write_json

PARTS = ("chdb-core", "clickhouse-connect", "opentelemetry-proto", "genai-prices", "grpcio")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete our commands.

    In ~/.bashrc: eval "$(eddyline completion bash)"
    """
    from click.shell_completion import get_completion_class

    from collector.cli import main

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "eddyline", "_EDDYLINE_COMPLETE").source())


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def version(as_json: bool) -> None:
    """Print the versions of this program and of what it is made of."""
    versions = {"eddyline": metadata.version("eddyline"), "python": platform.python_version()}
    for name in PARTS:
        with suppress(metadata.PackageNotFoundError):  # there are installations without the engine
            versions[name] = metadata.version(name)
    if as_json:
        write_json(versions)
    else:
        for name, number in versions.items():
            click.echo(f"{name} {number}")
