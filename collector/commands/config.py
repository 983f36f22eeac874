"""`eddyline validate`, `components`, `print-config` and `config`: looking at a configuration without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from collector.commands.failing import EX_CONFIG, fail
from collector.commands.options import Command, data_dir_option

CONFIG = click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="URI",
    help="A file, `file:PATH`, `env:NAME` or `yaml:TEXT`; several are joined, the later ones above.",
)
SETS = click.option(
    "--set", "sets", multiple=True, metavar="PATH=VALUE", help="One setting, such as journal.ack=write."
)
_DATA_DIR = data_dir_option("Where the collector keeps its data.")


def _settings(command: Command) -> Command:
    return CONFIG(SETS(_DATA_DIR(command)))


@click.command()
@_settings
@click.option("--no-environment", is_flag=True, help="Look at the configuration only, not at this machine.")
def validate(
    configs: tuple[str, ...], sets: tuple[str, ...], data_dir: Path | None, *, no_environment: bool
) -> None:
    """Check a configuration, and whether this machine can run it.

    Exits 78 if not."""
    from collector.config.meaning import not_understood

    settings = _load(configs, sets, data_dir)
    found = not_understood(settings)
    if not no_environment:
        from collector.process.environment import problems

        found += problems(settings)
    if found:
        fail("\n".join(found), EX_CONFIG)
    click.echo("the configuration can be used")


@click.command("print-config")
@_settings
def print_config(configs: tuple[str, ...], sets: tuple[str, ...], data_dir: Path | None) -> None:
    """Print the configuration as it holds, from all sources, without secrets."""
    from collector.config import printed

    click.echo(printed(_load(configs, sets, data_dir)).rstrip())


@click.command()
def components() -> None:
    """List what this collector is made of, as YAML."""
    import yaml

    from collector.components import components as list_components

    click.echo(yaml.safe_dump(list_components(), sort_keys=False).rstrip())


@click.group()
def config() -> None:
    """About configuration files."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    import json

    from collector.config import Settings

    click.echo(json.dumps(Settings.model_json_schema(), indent=2))


def _load(configs: tuple[str, ...], sets: tuple[str, ...], data_dir: Path | None) -> Any:
    from collector.config import ConfigError, load

    try:
        return load(configs, sets=sets, flags={"data_dir": data_dir})
    except ConfigError as error:
        fail(str(error), EX_CONFIG)
