from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from collector.plugins import MAPPERS, load_conventions
from mappers.conventions.base import Convention, KindByValue
from mappers.model import Kind, Span
from mappers.normalize import Normalizer
from tests.corpus import select
from tests.mappers.spans import captured_spans

ACME = Convention(
    id="acme",
    priority=50,
    keys=("acme.kind",),
    kinds=(KindByValue("acme.kind", {"model": Kind.LLM}),),
    fields={"request_model": ["acme.model"]},
)


@pytest.fixture(autouse=True)
def acme(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with conventions, good and bad."""
    module = ModuleType("acme_eddyline")
    module.__dict__.update(one=ACME, several=[ACME, ACME], wrong=object())
    monkeypatch.setitem(sys.modules, "acme_eddyline", module)


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, MAPPERS)


def test_a_convention_of_another_package_is_read() -> None:
    conventions, failures = load_conventions([entry("acme", "acme_eddyline:one")])
    assert (conventions, failures) == ([ACME], {})
    span: Span = captured_spans(next(select("openinference/openai/chat")))[0]
    span.attributes = {"acme.kind": "model", "acme.model": "acme-1"}
    event = Normalizer(conventions).normalize(span)
    assert (event.kind, event.request_model, event.convention) == (Kind.LLM, "acme-1", "acme")


def test_an_entry_point_may_bring_several() -> None:
    assert load_conventions([entry("acme", "acme_eddyline:several")]) == ([ACME, ACME], {})


def test_a_faulty_plugin_is_left_out_and_named() -> None:
    conventions, failures = load_conventions(
        [
            entry("gone", "no_such_package:x"),
            entry("wrong", "acme_eddyline:wrong"),
            entry("good", "acme_eddyline:one"),
        ]
    )
    assert conventions == [ACME]
    assert set(failures) == {"gone", "wrong"}
    assert "not a Convention" in failures["wrong"]


def test_nothing_is_installed_here() -> None:
    assert load_conventions() == ([], {})
