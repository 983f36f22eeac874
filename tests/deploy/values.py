"""The chart's values as a table, from `values.yaml` and the comments in it that begin with `# --`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.deploy.render import CHART

_KEY = re.compile(r"^( *)([A-Za-z]+):")


def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return loaded


def table() -> str:
    """The rows of the README: value, default, meaning."""
    rows = [f"| `{path}` | {_shown(default)} | {meaning} |" for path, default, meaning in _documented()]
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *rows])


def undocumented() -> list[str]:
    """Values that no comment explains, neither their own nor that of a value above them."""
    explained = {path for path, _, _ in _documented()}
    return [
        path
        for path in _leaves(values())
        if not any(path == known or path.startswith(f"{known}.") for known in explained)
    ]


def _documented() -> Iterator[tuple[str, Any, str]]:
    above: list[str] = []
    meaning = ""
    tree = values()
    for line in (CHART / "values.yaml").read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("# -- "):
            meaning = line.strip().removeprefix("# -- ")
        elif found := _KEY.match(line):
            above = [*above[: len(found[1]) // 2], found[2]]
            if meaning:
                default: Any = tree
                for part in above:
                    default = default[part]
                yield ".".join(above), default, meaning
            meaning = ""


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _shown(default: Any) -> str:
    return "" if default in ("", [], {}) else f"`{json.dumps(default)}`"


if __name__ == "__main__":
    readme = CHART / "README.md"
    before = readme.read_text(encoding="utf-8").split("## Values\n", 1)[0]
    readme.write_text(f"{before}## Values\n\n{table()}\n", encoding="utf-8")
