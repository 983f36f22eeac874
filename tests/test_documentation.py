"""The reference can not drift: what the READMEs list is what the code has."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel, ByteSize

from collector.api.aggregation import INTERVALS
from collector.api.app import routes_of
from collector.api.base import Api
from collector.api.queries import BOUNDS, FACET_PARAMETERS, RUN_PARAMETERS, SORTS
from collector.cli import COMMANDS, main
from collector.config import Settings
from sinks.aggregates import DIMENSIONS, METRICS, QUANTILES
from sinks.clickhouse.migrations import migrations
from sinks.filter import FIELDS
from tests.reference import REFERENCE, reference

ROOT = Path(__file__).parent.parent


def table(file: str, heading: str) -> dict[str, list[str]]:
    """Rows of the first table under a heading, by their first cell."""
    text = (ROOT / file).read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1]
    rows = {}
    for line in text.split("\n## ")[0].splitlines():
        if line.startswith("| `"):
            first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            rows[first.strip("` ")] = rest
    return rows


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object, str]]:
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, BaseModel):
            yield from leaves(type(default), f"{prefix}{name}.")
        else:
            yield prefix + name, default, field.description or ""


def shown(name: str, default: object) -> str:
    if name == "data_dir":
        return "`$XDG_DATA_HOME/eddyline`"
    if default in (None, "", [], {}):
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{item}`" for item in default)
    if isinstance(default, ByteSize):
        return f"`{default >> 20}MiB`" if default >> 20 else f"`{default >> 10}KiB`"
    if isinstance(default, float):
        return f"`{default:g}`" if name.endswith("_ratio") else f"`{default:g}s`"
    return f"`{default}`"


def test_every_setting_is_listed_with_its_default_and_meaning() -> None:
    listed = table("collector/README.md", "Settings")
    settings = {name: [shown(name, default), meaning] for name, default, meaning in leaves(Settings)}
    assert listed == settings


def test_every_route_is_listed_with_its_purpose() -> None:
    routes = {
        route.path if route.method == "GET" else f"{route.method} {route.path}": [route.purpose]
        for route in routes_of(Api.__new__(Api))
    }
    assert table("collector/README.md", "Routes") == routes


def test_every_route_is_in_the_reference_with_what_it_takes_and_answers() -> None:
    assert (ROOT / REFERENCE).read_text(encoding="utf-8") == reference(), "run `make reference`"


def test_every_parameter_of_the_list_of_runs_is_named() -> None:
    text = (ROOT / "collector/README.md").read_text(encoding="utf-8").split("## Choosing runs\n", 1)[1]
    bounds = [name[4:] for name in BOUNDS]
    named = {*re.findall(r"`([\w.*]+)`", text)}
    assert [
        parameter.name
        for parameter in (*RUN_PARAMETERS, *FACET_PARAMETERS)
        if parameter.name not in BOUNDS and parameter.name not in named
    ] == []
    assert [name for name in bounds if name not in named] == []
    assert [name for name in SORTS if f"`{name}`" not in text] == []


def test_every_field_of_the_query_language_is_listed() -> None:
    listed = table("collector/README.md", "Choosing runs")
    fields = {name: [field.type.value, field.purpose] for name, field in FIELDS.items()}
    assert listed == fields


def parts_of(folder: Path) -> set[str]:
    """Modules, and folders with their slash."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return modules | {f"{path.parent.name}/" for path in folder.glob("*/*") if path.suffix in (".py", ".md")}


@pytest.mark.parametrize("name", ["collector", "collector/proxy", "sinks", "mappers"])
def test_every_part_has_its_place_in_the_readme(name: str) -> None:
    folder = ROOT / name
    text = (folder / "README.md").read_text(encoding="utf-8")
    section = text.split("## Where things are\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[\w/`, ]+`) \|", section, re.MULTILINE)
    listed = [part for row in rows for part in re.findall(r"[\w/]+", row)]
    opened = {part.split("/")[0] for part in listed if not part.endswith("/") and "/" in part}
    parts = parts_of(folder) - {f"{each}/" for each in opened}
    for each in opened:
        parts |= {f"{each}/{module}" for module in parts_of(folder / each)}
    assert sorted(listed) == sorted(parts)


def test_every_command_is_listed() -> None:
    assert set(table("collector/README.md", "Commands")) == {f"eddyline {name}" for name in COMMANDS}


def test_the_list_of_commands_says_what_their_own_help_says() -> None:
    context = click.Context(main)
    for name, place in COMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert " ".join((command.help or "").split("\n\n")[0].split()) == place.purpose


def commands(group: click.Group, path: str = "eddyline") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        elif command is not None:
            yield f"{path} {name}", command


def test_every_command_that_asks_a_collector_asks_any() -> None:
    ways = {"--url", "--token", "--profile", "--data-dir"}
    found = {
        path: {way for option in one.params for way in option.opts} & ways for path, one in commands(main)
    }
    asking = {path for path, taken in found.items() if {"--url", "--data-dir"} <= taken}
    assert {"eddyline check", "eddyline runs ls", "eddyline db status", "eddyline export"} <= asking
    # The doctor looks at this machine and one collector, whose address may be of no API.
    assert {path for path in asking if found[path] != ways} == {"eddyline doctor"}


def test_the_help_imports_no_command() -> None:
    probe = (
        "import sys; from collector.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit(any(name.startswith('collector.commands') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", probe], stdout=subprocess.DEVNULL).returncode == 0


def test_every_table_is_listed() -> None:
    created: set[str] = set()
    for step in migrations():
        created.update(
            re.findall(r"CREATE (?:TABLE|MATERIALIZED VIEW|VIEW) IF NOT EXISTS otel\.(\w+)", step.text)
        )
        created.difference_update(re.findall(r"DROP TABLE IF EXISTS otel\.(\w+)", step.text))
    assert set(table("sinks/README.md", "clickhouse")) == created | {"schema_migrations"}


def test_links_lead_somewhere() -> None:
    for file in ROOT.glob("**/README.md"):
        if {".venv", "node_modules"} & set(file.parts):
            continue
        for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", file.read_text(encoding="utf-8")):
            assert (file.parent / target).exists(), f"{file}: {target}"


def test_every_metric_and_dimension_is_listed() -> None:
    assert set(table("collector/README.md", "Aggregates")) == set(METRICS)
    text = (ROOT / "collector/README.md").read_text(encoding="utf-8").split("## Aggregates\n", 1)[1]
    named = {*re.findall(r"`([\w.*]+)`", text.split("\n## ")[0])}
    assert {*DIMENSIONS, *INTERVALS, *QUANTILES, "metrics", "by", "interval", "tz"} <= named
