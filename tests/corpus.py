"""The captured payloads and what a correct collector makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent / "data" / "corpus"
CAPTURED = ROOT.parent / "captured"
"""Payloads that we captured ourselves, in the same form: `<convention>/<instrumentation>/`, each folder with an
`expectations.json` of its own."""


@dataclass(frozen=True, eq=False)
class Scenario:
    """One captured scenario. `expect` is described in the corpus' own notes."""

    name: str
    expect: dict[str, Any]
    traces: tuple[Path, ...]
    logs: tuple[Path, ...]

    @property
    def project(self) -> str:
        return self.name.replace("/", ".")

    def __str__(self) -> str:
        return self.name


@cache
def scenarios() -> Sequence[Scenario]:
    return list(_read(ROOT, ROOT / "expectations.json"))


@cache
def captured() -> Sequence[Scenario]:
    return [
        scenario
        for file in sorted(CAPTURED.glob("*/*/expectations.json"))
        for scenario in _read(CAPTURED, file)
    ]


def _read(root: Path, expectations: Path) -> Iterator[Scenario]:
    document = json.loads(expectations.read_text(encoding="utf-8"))
    for name, entry in document["scenarios"].items():
        folder = root / Path(name).parent
        yield Scenario(
            name,
            entry["expect"],
            tuple(folder / file for file in entry["files"]["traces"]),
            tuple(folder / file for file in entry["files"].get("logs", ())),
        )


def select(*prefixes: str) -> Iterator[Scenario]:
    return (scenario for scenario in scenarios() if scenario.name.startswith(prefixes))
