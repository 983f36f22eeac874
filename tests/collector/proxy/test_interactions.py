"""Gemini's Interactions and Mistral's Conversations: APIs whose answers are lists of steps and entries."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collector.proxy.exchange import Exchange, Outcome, read_exchange
from collector.proxy.sessions import Resolver
from collector.proxy.tape import Ending
from tests.collector.proxy.tapes import MS, tape
from tests.provider import event

INTERACTIONS = "/v1beta/interactions"
CONVERSATIONS = "/v1/conversations"
CALL = {"type": "function_call", "id": "call_1", "name": "get_weather", "arguments": {"city": "Paris"}}
SEARCH = {"type": "google_search_call", "id": "s1", "arguments": {"queries": ["a", "b", ""]}}
FOUND = {"type": "google_search_result", "call_id": "s1", "result": [{"url": "https://a"}]}
USAGE = {
    "total_input_tokens": 7,
    "total_tool_use_tokens": 2,
    "total_cached_tokens": 3,
    "total_output_tokens": 20,
    "total_thought_tokens": 22,
    "total_tokens": 51,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 5}, {"modality": "audio", "tokens": 2}],
}


def interaction(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    whole = {"id": "v1_a", "object": "interaction", "model": "gemini-3-flash", "status": "completed"}
    return {**whole, "steps": list(steps), "usage": USAGE, **more}


def answered(path: str, document: Any, request: Any, **more: Any) -> Exchange:
    return read_exchange(
        tape(path, request, [json.dumps(document).encode()], media_type="application/json", **more)
    )


def counted(found: Exchange) -> tuple[int | None, ...]:
    usage = found.answered.usage
    return usage.input, usage.output, usage.cache_read, usage.reasoning


def parts(found: Exchange) -> list[dict[str, Any]]:
    return [part for message in found.answered.messages for part in message["parts"]]


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


# --------------------------------------------------------------------------- interactions


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("hello", [{"role": "user", "parts": [text("hello")]}]),
        ({"type": "text", "text": "hello"}, [{"role": "user", "parts": [text("hello")]}]),
        ([{"type": "text", "text": "hello"}], [{"role": "user", "parts": [text("hello")]}]),
        (
            [
                {"type": "user_input", "content": [{"type": "text", "text": "hello"}]},
                {"type": "model_output", "content": [{"type": "text", "text": "hi"}]},
                CALL,
                {"type": "function_result", "call_id": "call_1", "name": "get_weather", "result": "18C"},
            ],
            [
                {"role": "user", "parts": [text("hello")]},
                {
                    "role": "assistant",
                    "parts": [
                        text("hi"),
                        {
                            "type": "tool_call",
                            "id": "call_1",
                            "name": "get_weather",
                            "arguments": {"city": "Paris"},
                        },
                    ],
                },
                {
                    "role": "tool",
                    "parts": [
                        {
                            "type": "tool_call_response",
                            "id": "call_1",
                            "response": "18C",
                            "name": "get_weather",
                        }
                    ],
                },
            ],
        ),
        (
            [
                {"role": "user", "content": "hello"},
                {"role": "model", "content": [{"type": "text", "text": "hi"}]},
            ],
            [{"role": "user", "parts": [text("hello")]}, {"role": "assistant", "parts": [text("hi")]}],
        ),
    ],
    ids=["text", "content", "contents", "steps", "turns"],
)
def test_what_an_interaction_is_asked_comes_in_many_forms(given: Any, expected: Any) -> None:
    body = {
        "model": "gemini-3-flash",
        "input": given,
        "system_instruction": "be brief",
        "previous_interaction_id": "v1_0",
        "generation_config": {"temperature": 0.5, "max_output_tokens": 9},
        "tools": [{"type": "function", "name": "get_weather"}, {"type": "google_search"}],
    }
    asked = answered(INTERACTIONS, interaction(), body).asked
    assert asked.messages == expected
    assert (asked.model, asked.system, asked.previous_response) == (
        "gemini-3-flash",
        [text("be brief")],
        "v1_0",
    )
    assert [tool["name"] for tool in asked.tools] == ["get_weather", "google_search"]
    assert asked.parameters["gen_ai.request.max_tokens"] == 9


def test_what_an_interaction_answers_and_used() -> None:
    found = answered(
        INTERACTIONS,
        interaction(
            {"type": "thought", "summary": [{"type": "text", "text": "hm"}], "signature": "x"},
            SEARCH,
            FOUND,
            {
                "type": "model_output",
                "content": [
                    {"type": "text", "text": "Hello"},
                    {"type": "image", "mime_type": "image/png", "data": "QUJDRA=="},
                ],
            },
        ),
        {"model": "gemini-3-flash", "input": "hello"},
    )
    reasoning, called, result, said, image = parts(found)
    assert (reasoning["content"], said["content"], image["mime_type"]) == ("hm", "Hello", "image/png")
    assert "QUJD" not in str(found.answered)
    assert (called["type"], called["name"], result["id"]) == ("server_tool_call", "google_search", "s1")
    assert counted(found) == (9, 42, 3, 22)
    assert (found.answered.usage.audio_input, found.answered.usage.web_searches) == (2, 2)
    assert (found.outcome, found.answered.finish_reasons, found.answered.id) == (
        Outcome.COMPLETE,
        ["stop"],
        "v1_a",
    )
    told = USAGE | {
        "grounding_tool_count": [{"type": "google_search", "count": 5}, {"type": "retrieval", "count": 1}]
    }
    assert answered(INTERACTIONS, interaction(usage=told), {}).answered.usage.web_searches == 5


def test_an_interaction_of_before_steps_has_outputs() -> None:
    before = {"id": "v1_b", "status": "requires_action", "outputs": [{"type": "text", "text": "hi"}, CALL]}
    found = answered(INTERACTIONS, before, {"model": "gemini-3-flash", "input": "hello"})
    assert [part["type"] for part in parts(found)] == ["text", "tool_call"]
    assert (found.answered.finish_reasons, [call.name for call in found.calls]) == (
        ["tool_call"],
        ["get_weather"],
    )


STREAM: list[dict[str, Any]] = [
    {
        "event_type": "interaction.created",
        "interaction": {"id": "v1_a", "model": "g", "status": "in_progress"},
    },
    {"event_type": "step.start", "index": 0, "step": {"type": "thought"}},
    {
        "event_type": "step.delta",
        "index": 0,
        "delta": {"type": "thought_summary", "content": {"type": "text", "text": "hm"}},
    },
    {"event_type": "step.stop", "index": 0},
    {"event_type": "step.start", "index": 1, "step": SEARCH},
    {"event_type": "step.stop", "index": 1},
    {"event_type": "step.start", "index": 2, "step": FOUND},
    {"event_type": "step.stop", "index": 2},
    {"event_type": "step.start", "index": 3, "step": {"type": "model_output"}},
    {"event_type": "step.delta", "index": 3, "delta": {"type": "text", "text": "Hel"}},
    {"event_type": "step.delta", "index": 3, "delta": {"type": "text", "text": "lo"}},
    {"event_type": "step.stop", "index": 3},
    {"event_type": "step.start", "index": 4, "step": {**CALL, "arguments": {}}},
    {"event_type": "step.delta", "index": 4, "delta": {"type": "arguments_delta", "arguments": '{"city": '}},
    {"event_type": "step.delta", "index": 4, "delta": {"type": "arguments_delta", "arguments": '"Paris"}'}},
    {"event_type": "step.stop", "index": 4},
    {
        "event_type": "interaction.completed",
        "interaction": {"id": "v1_a", "status": "requires_action", "usage": USAGE},
    },
]


def streamed(events: list[dict[str, Any]], ending: Ending = Ending.WHOLE) -> Exchange:
    pieces = [event(one, one["event_type"]) for one in events]
    return read_exchange(
        tape(INTERACTIONS, {"model": "g", "input": "x", "stream": True}, pieces, ending=ending)
    )


def test_an_interaction_that_is_streamed_is_put_together() -> None:
    found = streamed(STREAM)
    assert [part["type"] for part in parts(found)] == [
        "reasoning",
        "server_tool_call",
        "server_tool_call_response",
        "text",
        "tool_call",
    ]
    assert parts(found)[3] == text("Hello")
    assert counted(found) == (9, 42, 3, 22)
    assert (found.outcome, found.answered.finish_reasons, found.faults) == (
        Outcome.COMPLETE,
        ["tool_call"],
        [],
    )
    search, call = found.calls
    assert search.ran_ns == (6 * MS, 7 * MS)
    assert (call.arguments, call.ended_ns) == ('{"city": "Paris"}', 16 * MS)
    assert found.first_content_ns == 3 * MS


def test_a_stream_of_an_interaction_may_fail_or_be_given_up() -> None:
    failed = streamed([*STREAM[:10], {"event_type": "error", "error": {"code": "internal", "message": "no"}}])
    assert (failed.outcome, failed.error_type, failed.error_message) == (
        Outcome.MID_STREAM_ERROR,
        "internal",
        "no",
    )
    given_up = streamed(STREAM[:10], Ending.CLIENT)
    assert (given_up.outcome, parts(given_up)[-1]) == (Outcome.CLIENT_ABORT, text("Hel"))


def test_a_stream_of_before_steps_is_put_together() -> None:
    found = streamed(
        [
            {"event_type": "interaction.start", "interaction": {"id": "v1_a", "status": "in_progress"}},
            {"event_type": "content.start", "index": 0, "content": {"type": "text"}},
            {"event_type": "content.delta", "index": 0, "delta": {"type": "text", "text": "Hel"}},
            {"event_type": "content.delta", "index": 0, "delta": {"type": "text", "text": "lo"}},
            {"event_type": "content.stop", "index": 0},
            {"event_type": "content.delta", "index": 1, "delta": CALL},
            {
                "event_type": "interaction.complete",
                "interaction": {"status": "requires_action", "usage": USAGE},
            },
        ]
    )
    assert [part["type"] for part in parts(found)] == ["text", "tool_call"]
    assert (found.outcome, counted(found)) == (Outcome.COMPLETE, (9, 42, 3, 22))


def test_an_interaction_goes_on_where_it_says() -> None:
    resolver = Resolver()
    first = answered(INTERACTIONS, interaction(id="v1_1"), {"model": "g", "input": "a"})
    body = {"model": "g", "input": "b", "previous_interaction_id": "v1_1"}
    second = answered(INTERACTIONS, interaction(id="v1_2"), body, span_id="2" * 16)
    begun, went_on = resolver.resolve(first), resolver.resolve(second)
    assert (went_on.session is begun.session, went_on.method) == (True, "response_id")


# --------------------------------------------------------------------------- conversations

ENTRY = {"type": "message.output", "id": "msg_1", "role": "assistant", "model": "mistral-medium-2505"}
SEARCHED = {"type": "tool.execution", "id": "tool_1", "name": "web_search", "arguments": '{"query": "x"}'}
CALLED = {
    "type": "function.call",
    "id": "fc_1",
    "tool_call_id": "t1",
    "name": "get_weather",
    "arguments": "{}",
}
READ = {"prompt_tokens": 188, "completion_tokens": 55, "connector_tokens": 7112, "total_tokens": 7355}


def test_a_conversation_of_mistral_s_is_a_call() -> None:
    body = {
        "model": "mistral-medium-latest",
        "inputs": [
            {"type": "message.input", "role": "user", "content": "hello"},
            {"type": "function.result", "tool_call_id": "t0", "result": "18C"},
        ],
        "instructions": "be brief",
        "tools": [{"type": "web_search"}, {"type": "function", "function": {"name": "get_weather"}}],
        "completion_args": {"temperature": 0.3, "max_tokens": 9},
    }
    found = answered(
        CONVERSATIONS,
        {
            "object": "conversation.response",
            "conversation_id": "conv_1",
            "outputs": [SEARCHED, {**ENTRY, "content": [{"type": "text", "text": "Salut"}]}, CALLED],
            "usage": {**READ, "connectors": {"web_search": 2}},
        },
        body,
    )
    assert found.format is not None
    assert (found.format.api, found.asked.model) == ("conversations", "mistral-medium-latest")
    assert [message["role"] for message in found.asked.messages] == ["user", "tool"]
    assert found.asked.parameters["gen_ai.request.max_tokens"] == 9
    assert [part["type"] for part in parts(found)] == ["server_tool_call", "text", "tool_call"]
    assert (found.answered.id, found.answered.model) == ("fc_1", "mistral-medium-2505")
    assert counted(found)[:2] == (7300, 55)
    assert (found.answered.usage.web_searches, found.answered.finish_reasons) == (2, ["tool_call"])


def test_a_conversation_that_is_streamed_is_put_together() -> None:
    events = [
        {"type": "conversation.response.started", "conversation_id": "conv_1"},
        {
            "type": "tool.execution.started",
            "output_index": 0,
            **{k: v for k, v in SEARCHED.items() if k != "type"},
        },
        {
            "type": "tool.execution.done",
            "output_index": 0,
            "id": "tool_1",
            "name": "web_search",
            "info": {"n": 1},
        },
        *(
            {
                **ENTRY,
                "type": "message.output.delta",
                "output_index": 1,
                "content_index": 0,
                "content": content,
            }
            for content in ("Sa", "lut", {"type": "tool_reference", "title": "t"}, " !")
        ),
        *(
            {**CALLED, "type": "function.call.delta", "output_index": 2, "arguments": piece}
            for piece in ("{", "}")
        ),
        {"type": "conversation.response.done", "usage": READ},
    ]
    pieces = [event(one, str(one["type"])) for one in events]
    body = {"agent_id": "ag_1", "inputs": "hello", "stream": True}
    found = read_exchange(tape(CONVERSATIONS, body, pieces))
    assert (found.outcome, found.faults, counted(found)[:2]) == (Outcome.COMPLETE, [], (7300, 55))
    assert [part["type"] for part in parts(found)] == [
        "server_tool_call",
        "server_tool_call_response",
        "text",
        "tool_reference",
        "text",
        "tool_call",
    ]
    assert [part["content"] for part in parts(found) if part["type"] == "text"] == ["Salut", " !"]
    search, call = found.calls
    assert (search.ran_ns, call.arguments) == ((2 * MS, 3 * MS), "{}")
    assert (found.asked.parameters["gen_ai.agent.id"], found.answered.usage.web_searches) == ("ag_1", 1)
    failed = event({"type": "conversation.response.error", "code": 3000, "message": "no"})
    broken = read_exchange(tape(CONVERSATIONS, body, [*pieces[:4], failed]))
    assert (broken.outcome, broken.error_type) == (Outcome.MID_STREAM_ERROR, "3000")


def test_a_conversation_goes_on_by_the_id_that_its_first_answer_gave() -> None:
    resolver = Resolver()
    said = {
        "object": "conversation.response",
        "conversation_id": "conv_1",
        "outputs": [{**ENTRY, "content": "a"}],
    }
    first = resolver.resolve(answered(CONVERSATIONS, said, {"model": "m", "inputs": "x"}))
    more = answered(f"{CONVERSATIONS}/conv_1", said, {"inputs": "y"}, span_id="2" * 16)
    second = resolver.resolve(more)
    assert (more.asked.conversation, second.method, second.session is first.session) == (
        "conv_1",
        "conversation",
        True,
    )


def test_conversations_of_others_are_no_calls() -> None:
    found = answered(CONVERSATIONS, {"id": "conv_9", "object": "conversation"}, {"metadata": {}})
    assert (found.format, found.outcome) == (None, Outcome.COMPLETE)
