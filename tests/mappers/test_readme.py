"""The example of a convention in another package is run from the text in which it is read."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

README = (Path(__file__).parents[2] / "mappers" / "README.md").read_text(encoding="utf-8")
SECTION = README.split("### In a package of your own\n", 1)[1].split("\n## ")[0]
CONVENTION, TEST = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
(PYPROJECT,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("acme_eddyline")
    exec(compile(CONVENTION, "acme_eddyline.py", "exec"), made.__dict__)
    monkeypatch.setitem(sys.modules, "acme_eddyline", made)
    return made


def test_the_example_s_own_test_passes(module: ModuleType) -> None:
    namespace: dict[str, object] = {}
    exec(compile(TEST, "test_acme_eddyline.py", "exec"), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_") and callable(value)]
    assert tests
    for test in tests:
        test()


def test_the_example_is_short_and_its_entry_point_leads_to_it(module: ModuleType) -> None:
    assert len(CONVENTION.splitlines()) <= 60
    points = tomllib.loads(PYPROJECT)["project"]["entry-points"]["eddyline.mappers"]
    for target in points.values():
        name, attribute = target.split(":")
        assert name == module.__name__
        assert hasattr(module, attribute)
