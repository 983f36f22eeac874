from __future__ import annotations

import json
from typing import Any

import pytest

from mappers.call_details import MAX_DOCUMENTS, MAX_TEXT, documents, offered_tools, parameters
from mappers.model import Document, Event, Scope
from mappers.normalize import Normalizer
from tests.corpus import scenarios
from tests.mappers.spans import captured_spans, span_of


def read(attributes: dict[str, Any], scope: str = "") -> Event:
    return Normalizer().normalize(span_of(attributes, scope=Scope(scope)))


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        (
            "",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.temperature": 0.5,
                "gen_ai.request.max_tokens": 64,
            },
        ),
        (
            "",
            {
                "openinference.span.kind": "LLM",
                "llm.invocation_parameters": '{"model": "m", "temperature": 0.5, "max_completion_tokens": 64}',
            },
        ),
        (
            "langfuse-sdk",
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.model.parameters": '{"temperature": "0.5", "max_tokens": 64, "user": "u"}',
            },
        ),
        (
            "ai",
            {
                "ai.operationId": "ai.generateText.doGenerate",
                "ai.settings.temperature": 0.5,
                "ai.settings.maxOutputTokens": 64,
                "ai.settings.maxRetries": 2,
            },
        ),
    ],
)
def test_parameters_have_one_name_however_they_came(scope: str, attributes: dict[str, Any]) -> None:
    assert read(attributes, scope).parameters == {"temperature": "0.5", "max_tokens": "64"}


def test_parameters_are_bounded_and_none_else_is_kept() -> None:
    found = parameters({"stop": ["x" * 1_000], "seed": 0, "tools": [1], "messages": "m", "top_p": None})
    assert found is not None
    assert set(found) == {"stop", "seed"}
    assert len(found["stop"]) == MAX_TEXT
    assert parameters("not a document") is None
    assert parameters({}) is None


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
OFFERS = [
    [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
    [{"name": "look", "input_schema": SCHEMA}],
    [{"functionDeclarations": [{"name": "look", "parameters": SCHEMA}]}],
    {"tools": [{"toolSpec": {"name": "look", "inputSchema": SCHEMA}}]},
    [json.dumps({"type": "function", "name": "look"})],
]


@pytest.mark.parametrize("offer", OFFERS)
def test_tools_on_offer_are_known_by_name_in_every_shape(offer: Any) -> None:
    for given in (offer, json.dumps(offer)):
        found = offered_tools(given)
        assert found is not None
        assert found.names == ("look",)
        assert found.hash


def test_other_definitions_have_another_hash() -> None:
    one = offered_tools([{"name": "look", "description": "a"}])
    other = offered_tools([{"name": "look", "description": "b"}])
    assert one is not None
    assert other is not None
    assert one.hash != other.hash


@pytest.mark.parametrize("value", [None, "", "x", "[", 3, [], {}, [[]], [{"name": 3}], "[1]"])
def test_what_offers_no_tools_is_nothing(value: Any) -> None:
    assert offered_tools(value) is None


def test_documents_are_known_by_id_and_score_never_by_text() -> None:
    event = read(
        {
            "openinference.span.kind": "RETRIEVER",
            "retrieval.documents.0.document.id": "d1",
            "retrieval.documents.0.document.score": 0.9,
            "retrieval.documents.0.document.content": "secret text",
            "retrieval.documents.1.document.id": 7,
            "retrieval.documents.1.document.content": "more",
        }
    )
    assert event.documents == (Document("d1", 0.9), Document("7", None))
    assert documents(json.dumps([{"id": "a", "score": 1}])) == (Document("a", 1.0),)
    assert documents([{"id": "a", "score": 10**400}]) == (Document("a", None),)
    many = documents([{"id": str(n)} for n in range(1_000)])
    assert many is not None
    assert len(many) == MAX_DOCUMENTS


@pytest.mark.parametrize("vector", [[0.1, 0.2, 0.3], "[0.1, 0.2, 0.3]"])
def test_of_a_vector_the_length_is_known(vector: Any) -> None:
    event = read({"openinference.span.kind": "EMBEDDING", "embedding.embeddings.0.embedding.vector": vector})
    assert event.embedding_dimensions == 3
    assert "0.2" not in repr(event)


def test_the_prompt_s_template_is_named() -> None:
    event = read(
        {"gen_ai.operation.name": "chat", "gen_ai.prompt.name": "greeting", "gen_ai.prompt.version": "3"}
    )
    assert (event.prompt_name, event.prompt_version) == ("greeting", "3")


@pytest.mark.parametrize("scenario", [s for s in scenarios() if s.name.endswith("/tools")], ids=str)
def test_captured_calls_ask_only_for_tools_on_offer(scenario: Any) -> None:
    for span in captured_spans(scenario):
        event = Normalizer().normalize(span)
        if event.offered_tools:
            assert {request.name for request in event.tool_requests} <= set(event.offered_tools)


def test_what_an_sdk_puts_for_a_parameter_that_was_not_given_is_none() -> None:
    given = {"temperature": 0.2, "top_p": "<openai.Omit object at 0x7fe6cfd72690>"}
    assert parameters(given) == {"temperature": "0.2"}
