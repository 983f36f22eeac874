"""Every line of the conformance list is held by a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

LINES = {"H": 23, "F": 4, "J": 17, "P": 11, "G": 14, "L": 4}
"""HTTP's surface, failures, JSON, the data model, gRPC, other signals: how many lines each has."""


def test_every_line_has_a_test() -> None:
    named: set[str] = set()
    for file in Path(__file__).parent.parent.rglob("test_*.py"):
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            named.update(re.findall(r"(?<=_)([A-Z]\d+)(?=_)", name))
    listed = {f"{letter}{number}" for letter, most in LINES.items() for number in range(1, most + 1)}
    assert sorted(listed - named) == []
