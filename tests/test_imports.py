"""Imports run one way: whoever reads a part need not know those that are made of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORLD = {"asyncio", "io", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"}
"""Modules that know more than they are told."""


def imported(file: Path, *, at_once: bool = False) -> Iterator[str]:
    """Names of the modules that a file imports: `at_once`, when it is imported itself."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{file}: an import that is relative"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_sinks_know_no_collector_and_mappers_know_neither() -> None:
    for folder, above in (("sinks", {"collector", "tests"}), ("mappers", {"collector", "sinks", "tests"})):
        for file in of(folder):
            assert not above & {name.split(".")[0] for name in imported(file)}, file


def test_mappers_ask_neither_clock_nor_disk_nor_network() -> None:
    for file in of("mappers"):
        assert not WORLD & {name.split(".")[0] for name in imported(file)}, file


def test_parts_of_the_collector_import_each_other_in_one_direction() -> None:
    needed: dict[str, set[str]] = {}
    for file in of("collector"):
        part = file.relative_to(ROOT / "collector").with_suffix("").parts[0]
        names = [name.split(".") for name in imported(file, at_once=True) if name.startswith("collector.")]
        needed.setdefault(part, set()).update({name[1] for name in names} - {part})
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' ← '.join(error.args[1])}")
