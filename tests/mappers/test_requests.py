from __future__ import annotations

import json
from typing import Any

import pytest

from mappers.messages.requests import MAX_REQUESTS, tool_requests
from mappers.model import Scope
from mappers.normalize import Normalizer
from tests.corpus import scenarios
from tests.mappers.spans import captured_spans, span_of

ARGUMENTS = {"city": "Paris", "unit": "C"}
AS_TEXT = json.dumps(ARGUMENTS)
SHAPES = {
    "chat completions": {
        "choices": [
            {
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": AS_TEXT}}
                    ],
                }
            }
        ]
    },
    "responses": {
        "output": [{"type": "function_call", "call_id": "c1", "name": "look", "arguments": AS_TEXT}]
    },
    "messages": {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": ARGUMENTS}],
    },
    "GenAI parts": [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "look", "arguments": ARGUMENTS}],
        }
    ],
    "Bedrock": {
        "role": "assistant",
        "content": [{"toolUse": {"toolUseId": "c1", "name": "look", "input": ARGUMENTS}}],
    },
    "Vercel": [{"toolCallId": "c1", "toolName": "look", "input": AS_TEXT}],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_request_is_the_same_in_every_shape(shape: str) -> None:
    (request,) = tool_requests(json.dumps(SHAPES[shape]))
    expected = Normalizer().normalize(
        span_of(
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "look",
                "gen_ai.tool.call.arguments": json.dumps(ARGUMENTS, indent=2),
            }
        )
    )
    assert (request.id, request.name) == ("c1", "look")
    assert request.args_hash == expected.args_hash != 0


def test_a_gemini_request_has_no_id() -> None:
    content = {
        "candidates": [
            {"content": {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]}}
        ]
    }
    (request,) = tool_requests(content)
    assert (request.id, request.name) == ("", "look")
    assert request.args_hash != 0


def test_equal_requests_without_ids_are_two() -> None:
    part = {"type": "tool_call", "name": "look", "arguments": {"a": 1}}
    assert len(tool_requests([{"role": "assistant", "parts": [part, part]}])) == 2


def test_what_the_model_reads_is_no_request() -> None:
    history = [
        {"role": "user", "content": "use the tool"},
        {"role": "tool", "tool_call_id": "c1", "content": "18C"},
    ]
    assert tool_requests(json.dumps(history)) == ()
    assert tool_requests("call the tool, I said") == ()


def test_who_asks_may_be_unknown() -> None:
    """So OpenLLMetry's LangChain tells a streamed answer."""
    asked = {"type": "tool_call", "id": "c1", "name": "look", "arguments": ARGUMENTS}
    found = tool_requests(json.dumps([{"role": "unknown", "parts": [asked]}]))
    assert [(request.id, request.name) for request in found] == [("c1", "look")]


def test_the_list_is_bounded() -> None:
    parts = [{"type": "tool_call", "id": f"c{n}", "name": "look"} for n in range(MAX_REQUESTS * 2)]
    assert len(tool_requests([{"role": "assistant", "parts": parts}])) == MAX_REQUESTS


@pytest.mark.parametrize("content", [None, "", "tool", "[tool", {"tool_calls": 7}, [[["tool_use"]]], 3.5])
def test_anything_else_holds_none(content: Any) -> None:
    assert tool_requests(content) == ()


def test_requests_beside_a_text_are_found() -> None:
    event = Normalizer().normalize(
        span_of(
            {
                "ai.operationId": "ai.generateText.doGenerate",
                "ai.response.text": "Let me look.",
                "ai.response.toolCalls": json.dumps(SHAPES["Vercel"]),
            },
            scope=Scope("ai"),
        )
    )
    assert [request.name for request in event.tool_requests] == ["look"]
    assert event.output == "Let me look."


@pytest.mark.parametrize(
    "scenario",
    [s for s in scenarios() if s.name.endswith("/tools")],
    ids=str,
)
def test_captured_answers_ask_for_the_tools_that_ran(scenario: Any) -> None:
    """Where a library tells both, each executed tool was asked for, with the same arguments."""
    normalizer = Normalizer()
    events = [normalizer.normalize(span) for span in captured_spans(scenario)]
    asked = {(r.name, r.args_hash) for event in events for r in event.tool_requests}
    # LangChain passes the value alone to a tool that has one argument.
    ran = {(e.tool, e.args_hash) for e in events if e.kind == "TOOL" and e.input.startswith("{")}
    if asked and ran:
        assert asked & ran


@pytest.mark.parametrize("apart", [False, True])
def test_a_request_whose_beginning_is_kept_beside_it_is_one_request(apart: bool) -> None:
    begun = {"type": "tool_call", "id": "c1", "name": "look", "arguments": None}
    other = {"type": "tool_call", "id": "c2", "name": "wait", "arguments": None}
    parts = [begun, other, {**begun, "arguments": ARGUMENTS}]
    messages = [[part] for part in parts] if apart else [parts]
    found = tool_requests([{"role": "assistant", "parts": parts} for parts in messages])
    assert sorted((request.id, bool(request.args_hash)) for request in found) == [("c1", True), ("c2", False)]
