from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mappers
from mappers.conventions import BUILTIN
from mappers.conventions.base import Computed, Const, Convention, Json, KindByName, KindByValue, Quirk
from mappers.conventions.registry import MAX_KEYS, MAX_LAYOUTS, MAX_SHAPES, Registry
from mappers.model import Kind, Scope
from mappers.normalize import Normalizer
from tests.mappers.spans import span_of

README = (Path(mappers.__file__).parent / "README.md").read_text(encoding="utf-8")


def acme(**given: Any) -> Convention:
    usual: dict[str, Any] = {
        "id": "acme",
        "priority": 50,
        "keys": ("acme.type",),
        "kinds": (KindByValue("acme.type", {"call": Kind.LLM}),),
        "fields": {"provider": ["acme.provider"]},
    }
    return Convention(**usual | given)


def test_a_convention_of_somebody_else_is_read_like_ours() -> None:
    normalizer = Normalizer([*BUILTIN, acme()])
    event = normalizer.normalize(span_of({"acme.type": '"CALL"', "acme.provider": "acme"}))
    assert (event.convention, event.kind, event.provider) == ("acme", Kind.LLM, "acme")


@pytest.mark.parametrize(
    "faulty",
    [
        acme(fields={"no_such_field": ["acme.x"]}),
        acme(scopes=("(",)),
        acme(quirks=(Quirk(name="["),)),
        acme(kinds=(KindByName(Kind.LLM, "*"),)),
        acme(kinds=({"acme.type": "LLM"},)),
        acme(kinds=(KindByValue("acme.type", {"call": "MODEL"}),)),  # type: ignore[dict-item]  # what it is about
        acme(fields={"provider": [Const(["unhashable"])]}),
        acme(fields={"provider": [7]}),
        acme(priority="first"),
        "not a convention",
    ],
)
def test_a_faulty_convention_is_left_out_and_counted(faulty: Any) -> None:
    normalizer = Normalizer([faulty, *BUILTIN])
    event = normalizer.normalize(span_of({"acme.type": "call", "gen_ai.operation.name": "chat"}))
    assert (event.convention, event.kind) == ("gen_ai", Kind.LLM)
    assert normalizer.faults.total() == 1


def test_code_of_a_convention_that_fails_costs_its_field_only() -> None:
    def fails(_: Callable[[str], Any]) -> Any:
        raise RuntimeError

    convention = acme(fields={"provider": [Computed(fails, ("acme.type",)), "acme.provider"]})
    normalizer = Normalizer([convention])
    event = normalizer.normalize(span_of({"acme.type": "call", "acme.provider": "acme"}))
    assert event.provider == "acme"
    assert normalizer.faults == {"acme": 1}


def test_a_member_of_a_document_is_read_if_nothing_better_is_known() -> None:
    convention = acme(
        fields={
            "response_model": ["acme.model"],
            "request_model": [Json("acme.request", "options", 0, "model", unless="response_model")],
        }
    )
    request = {"acme.type": "call", "acme.request": '{"options": [{"model": "m"}]}'}
    normalizer = Normalizer([convention])
    assert normalizer.normalize(span_of(request)).request_model == "m"
    assert normalizer.normalize(span_of(request | {"acme.model": "r"})).request_model == ""


def test_messages_need_not_be_flattened() -> None:
    convention = acme(
        fields={"input_messages": ["acme.in"], "output_messages": ["acme.out"], "agent": ["acme.a"]}
    )
    normalizer = Normalizer([convention])
    asked = [{"role": "user", "content": "Weather?"}]
    answered = {"tool_calls": [{"id": "c", "function": {"name": "look", "arguments": "{}"}}]}
    event = normalizer.normalize(
        span_of({"acme.type": "call", "acme.in": asked, "acme.out": answered, "acme.a": "planner"})
    )
    assert (event.input, event.agent) == ("Weather?", "planner")
    assert [request.name for request in event.tool_requests] == ["look"]
    assert not normalizer.faults


def test_quirks_hold_in_their_scope_for_names_and_keys_they_name() -> None:
    quirk = Quirk(scope=r"^acme\.sdk@1\.", name="prepare", lacks="acme.provider", kind=Kind.OTHER)
    normalizer = Normalizer([acme(quirks=(quirk,))])

    def kind(scope: Scope, name: str, **more: str) -> str:
        attributes = {"acme.type": "call"} | {f"acme.{key}": value for key, value in more.items()}
        return normalizer.normalize(span_of(attributes, scope=scope, name=name)).kind

    assert kind(Scope("acme.sdk", "1.4"), "prepare") == Kind.OTHER
    assert kind(Scope("acme.sdk", "2.0"), "prepare") == Kind.LLM
    assert kind(Scope("acme.sdk", "1.4"), "call") == Kind.LLM
    assert kind(Scope("acme.sdk", "1.4"), "prepare", provider="x") == Kind.LLM


def test_a_sender_of_ever_new_shapes_and_scopes_does_not_make_the_registry_grow() -> None:
    registry = Registry(BUILTIN)
    keys = sorted(registry.known)
    plans = registry.scope_plans(Scope("x"))
    for number in range(MAX_SHAPES + 10):
        shape = {keys[bit]: "" for bit in range(12) if number >> bit & 1}
        plans.layout(span_of(shape))
        plans.layout(span_of(shape | {f"unknown.{number}.{key}": "" for key in range(MAX_KEYS)}))
        plans.layout(span_of({f"unknown.{number}": ""}))
    assert len(plans._plans) <= MAX_SHAPES
    assert len(plans._layouts) <= MAX_LAYOUTS
    for number in range(1_000):
        registry.scope_plans(Scope(str(number)))
    assert len(registry._scopes) < 1_000


def test_a_request_is_let_go_of_as_soon_as_its_spans_are_read() -> None:
    """Without a garbage collection, which would find it much later: attributes hold the request they came in."""

    class Held(dict[str, Any]):
        """A dict that can be watched."""

    span = span_of(
        {
            "openinference.span.kind": "LLM",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": "Which way?",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "look",
        }
    )
    span.attributes = Held(span.attributes)
    watched = weakref.ref(span.attributes)
    gc.disable()
    try:
        event = Normalizer().normalize(span)
        del span
        assert watched() is None
    finally:
        gc.enable()
    assert event.kind is Kind.LLM


def test_conventions_have_ids_and_places_of_their_own() -> None:
    assert len({convention.id for convention in BUILTIN}) == len(BUILTIN)
    assert len({convention.priority for convention in BUILTIN}) == len(BUILTIN)
    assert not Registry(BUILTIN).faults


def test_the_readme_lists_the_conventions_in_their_order_and_all_kinds() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", README, re.MULTILINE)
    assert rows == [(convention.id, str(convention.priority)) for convention in BUILTIN]
    assert re.findall(r"^\| ([A-Z]+) \|", README, re.MULTILINE) == [kind.value for kind in Kind]
