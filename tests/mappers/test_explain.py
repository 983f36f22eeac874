from __future__ import annotations

import pytest

from mappers.conventions import BUILTIN
from mappers.conventions.base import Convention, KindByValue
from mappers.conventions.registry import Registry
from mappers.explain import explain
from mappers.model import Kind, Scope
from mappers.normalize import Normalizer
from tests.corpus import Scenario, scenarios, select
from tests.mappers.spans import captured_spans, span_of


@pytest.mark.parametrize("scenario", list(scenarios())[::4], ids=str)
def test_what_is_told_is_what_is_read(scenario: Scenario) -> None:
    registry, normalizer = Registry(BUILTIN), Normalizer()
    for span in captured_spans(scenario):
        told, event = normalizer.explain(span), normalizer.normalize(span)
        assert told.kind == event.kind
        assert (told.conventions[0][0] if told.conventions else "") == event.convention
        layout = registry.scope_plans(span.scope).layout(span)
        kind = layout.plan.traits(span).kind
        read = layout.plan.fields[kind].read(span, layout.families)
        assert {reading.field for reading in told.fields} == read.keys()
        if event.request_model:
            (model,) = (reading.taken for reading in told.fields if reading.field == "request_model")
            assert model.value == event.request_model
        assert set(told.unread) <= set(span.attributes)
        assert bool(told.entries) != bool(told.no_entry)


def test_every_candidate_is_named_and_the_first_is_taken() -> None:
    told = Normalizer().explain(
        span_of(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.usage.input_tokens": 7,
                "gen_ai.usage.prompt_tokens": 8,
                "acme.note": "x",
            }
        )
    )
    (reading,) = (reading for reading in told.fields if reading.field == "input_tokens")
    assert (reading.taken.source, reading.taken.value) == ("gen_ai.usage.input_tokens", "7")
    assert [(other.source, other.value) for other in reading.others] == [("gen_ai.usage.prompt_tokens", "8")]
    assert told.unread == ["acme.note"]
    assert told.kind_rule == "gen_ai: gen_ai.operation.name = chat"


def test_quirks_that_were_applied_are_named() -> None:
    span = span_of(
        {"openinference.span.kind": "AGENT", "tool.name": "x"},
        scope=Scope("openinference.instrumentation.langchain", "0.1"),
    )
    told = Normalizer().explain(span)
    assert (told.told_kind, told.kind) == (Kind.AGENT, Kind.TOOL)
    assert any("langchain" in quirk and quirk.endswith("is TOOL") for quirk in told.quirks)


def test_a_tool_that_hands_over_is_told_to_be_a_handoff() -> None:
    span = span_of({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "transfer_to_billing"})
    told = Normalizer().explain(span)
    assert (told.told_kind, told.kind, told.entries) == (Kind.TOOL, Kind.HANDOFF, ("handoff_started",))


def test_why_a_span_has_no_entry_is_said() -> None:
    assert Normalizer().explain(span_of({"http.method": "GET"})).no_entry == (
        "no convention knows its scope or a key of it"
    )
    told = Normalizer().explain(span_of({"openinference.span.kind": "EVALUATOR"}))
    assert told.no_entry == "spans of kind EVALUATOR have no entry"


def test_conventions_of_other_packages_are_explained_alike() -> None:
    acme = Convention(
        id="acme",
        priority=50,
        keys=("acme.kind",),
        kinds=(KindByValue("acme.kind", {"model": Kind.LLM}),),
        fields={"request_model": ["acme.model"]},
    )
    told = explain(Registry([acme]), span_of({"acme.kind": "model", "acme.model": "m"}))
    assert told.conventions == [("acme", "acme.kind")]
    assert [reading.taken.source for reading in told.fields] == ["acme.model"]


def test_hostile_spans_are_explained_too() -> None:
    for scenario in select("openinference/openai"):
        for span in captured_spans(scenario):
            span.attributes = {key: [{"x": None}, b"\xff", float("nan")] for key in span.attributes}
            Normalizer().explain(span)
