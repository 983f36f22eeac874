"""Conventions that nothing here can be made to send: spans written by hand from their sources."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mappers.assemble import assemble
from mappers.conventions import BUILTIN
from mappers.model import Kind, Scope, Status
from mappers.normalize import Normalizer
from tests.mappers.spans import span_of

GENKIT_ANSWER = {
    "message": {
        "role": "model",
        "content": [{"toolRequest": {"name": "get_weather", "input": {"city": "Oslo"}}}],
    },
    "finishReason": "stop",
    "usage": {"inputTokens": 100, "outputTokens": 20, "thoughtsTokens": 8, "totalTokens": 128},
}

CALLS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "ag2": (
        "opentelemetry.instrumentation.ag2",
        "chat gpt-4o-mini",
        {
            "ag2.span.type": "llm",
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.usage.thinking_tokens": 8,
            "gen_ai.usage.cost": 0.25,
        },
        {"request_model": "gpt-4o-mini", "input_tokens": 100, "output_tokens": 20, "reasoning_tokens": 8},
    ),
    "mastra": (
        "mastra",
        "mastra.stream.aisdk.doStream",
        {
            "aisdk.model.id": "gpt-4o-mini",
            "aisdk.model.provider": "openai.chat",
            "stream.response.id": "chatcmpl-1",
            "stream.response.model": "gpt-4o-mini-2024-07-18",
            "stream.response.finishReason": "stop",
            "stream.response.msToFirstChunk": 12.5,
            "stream.response.text": "18C",
            "stream.prompt.messages": '[{"role":"user","content":"Weather in Oslo?"}]',
            "stream.usage.inputTokens": 100,
            "stream.usage.outputTokens": 20,
        },
        {
            "request_model": "gpt-4o-mini",
            "response_id": "chatcmpl-1",
            "input": "Weather in Oslo?",
            "output": "18C",
            "input_tokens": 100,
            "output_tokens": 20,
            "ttft_ms": 12.5,
            "finish_reasons": ("stop",),
        },
    ),
    # Flue follows the GenAI conventions; its own keys are ids.
    "gen_ai": (
        "@flue/opentelemetry",
        "chat gpt-4o-mini",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.conversation.id": "talk-1",
            "gen_ai.usage.input_tokens": 100,
            "flue.operation.id": "op_1",
            "flue.session.name": "default",
        },
        {"request_model": "gpt-4o-mini", "session_id": "talk-1", "input_tokens": 100},
    ),
    "genkit": (
        "genkit-tracer",
        "googleai/gemini-2.5-flash",
        {
            "genkit:type": "action",
            "genkit:metadata:subtype": "model",
            "genkit:name": "googleai/gemini-2.5-flash",
            "genkit:input": '{"messages":[{"role":"user","content":[{"text":"Weather in Oslo?"}]}]}',
            "genkit:output": json.dumps(GENKIT_ANSWER),
            "genkit:state": "success",
        },
        {
            "request_model": "googleai/gemini-2.5-flash",
            "input": "Weather in Oslo?",
            "output": 'get_weather({"city":"Oslo"})',
            "input_tokens": 100,
            # The total shows that the thoughts are not in the output.
            "output_tokens": 28,
            "finish_reasons": ("stop",),
        },
    ),
    "livekit": (
        "livekit-agents",
        "llm_request",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "lk.response.ttft": 0.25,
            "lk.pii.response.text": "18C",
        },
        {"request_model": "gpt-4o-mini", "input_tokens": 100, "ttft_ms": 250.0, "output": "18C"},
    ),
    "voltagent": (
        "@voltagent/core",
        "llm:generateText",
        {
            "span.type": "llm",
            "entity.type": "agent",
            "entity.name": "weather_agent",
            "llm.model": "gpt-4o-mini",
            "llm.usage.prompt_tokens": 100,
            "llm.usage.completion_tokens": 20,
            "llm.usage.cached_tokens": 64,
            "conversation.id": "sess-42",
        },
        {
            "agent": "weather_agent",
            "request_model": "gpt-4o-mini",
            "input_tokens": 100,
            "session_id": "sess-42",
        },
    ),
    "claude_code": (
        "com.anthropic.claude_code.tracing",
        "claude_code.llm_request",
        {
            "span.type": "llm_request",
            "model": "claude-sonnet-4-5",
            "input_tokens": 100,
            "output_tokens": 20,
            "cache_read_tokens": 50,
            "cache_creation_tokens": 30,
            "ttft_ms": 12,
            "attempt": 2,
            "success": True,
            "session.id": "sess-42",
        },
        {
            "request_model": "claude-sonnet-4-5",
            # Anthropic counts the cache apart.
            "input_tokens": 180,
            "output_tokens": 20,
            "attempts": 2,
            "session_id": "sess-42",
        },
    ),
    "logfire": (
        "logfire.openai",
        "Chat Completion with {request_data[model]!r}",
        {
            "logfire.msg": "Chat Completion with 'gpt-4o-mini'",
            "request_data": '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}]}',
            "response_data": '{"message":{"role":"assistant","content":"Hi"},'
            '"usage":{"prompt_tokens":100,"completion_tokens":20}}',
        },
        {"request_model": "gpt-4o-mini", "input": "Hello", "output": "Hi", "input_tokens": 100},
    ),
    "anthropic": (
        "com.anthropic.sdk.python",
        "anthropic.messages.create",
        {"gen_ai.response.model": "claude-sonnet-4-5-20250929", "anthropic.message.stop_reason": "end_turn"},
        {"response_model": "claude-sonnet-4-5-20250929", "finish_reasons": ("end_turn",)},
    ),
}


@pytest.mark.parametrize("convention", CALLS)
def test_a_model_call_is_read(convention: str) -> None:
    scope, name, attributes, expected = CALLS[convention]
    event = Normalizer().normalize(span_of(attributes, name=name, scope=Scope(scope, "1.0.0")))
    assert (event.convention, event.kind) == (convention, Kind.LLM)
    assert {field: getattr(event, field) for field in expected} == expected


TOOLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ag2": (
        "opentelemetry.instrumentation.ag2",
        "execute_tool get_weather",
        {
            "ag2.span.type": "tool",
            "gen_ai.tool.name": "get_weather",
            "gen_ai.tool.call.arguments": '{"city":"Oslo"}',
            "gen_ai.tool.call.result": "18C",
        },
    ),
    "genkit": (
        "genkit-tracer",
        "get_weather",
        {
            "genkit:metadata:subtype": "tool",
            "genkit:name": "get_weather",
            "genkit:input": '{"city":"Oslo"}',
            "genkit:output": '"18C"',
        },
    ),
    "livekit": (
        "livekit-agents",
        "function_tool",
        {
            "lk.function_tool.name": "get_weather",
            "lk.function_tool.arguments": '{"city":"Oslo"}',
            "lk.function_tool.output": "18C",
        },
    ),
    "voltagent": (
        "@voltagent/core",
        "tool.execution:get_weather",
        {
            "span.type": "tool",
            "entity.type": "agent",
            "tool.name": "get_weather",
            "input": '{"city":"Oslo"}',
            "output": '"18C"',
        },
    ),
    "claude_code": (
        "com.anthropic.claude_code.tracing",
        "claude_code.tool",
        {
            "span.type": "tool",
            "tool_name": "get_weather",
            "tool_input": '{"city":"Oslo"}',
            "tool_output": "18C",
        },
    ),
    "mastra": (
        "mastra",
        "mastra.stream.toolCall",
        {
            "stream.toolCall.toolName": "get_weather",
            "stream.toolCall.toolCallId": "call_1",
            "stream.toolCall.args": '{"city":"Oslo"}',
            "stream.toolCall.result": "18C",
        },
    ),
    "spring_ai": (
        "org.springframework.boot",
        "tool_call get_weather",
        {
            "spring.ai.kind": "tool_call",
            "gen_ai.operation.name": "framework",
            "spring.ai.tool.definition.name": "get_weather",
            "spring.ai.tool.call.arguments": '{"city":"Oslo"}',
            "spring.ai.tool.call.result": "18C",
        },
    ),
}


@pytest.mark.parametrize("convention", TOOLS)
def test_a_tool_call_is_read(convention: str) -> None:
    scope, name, attributes = TOOLS[convention]
    event = Normalizer().normalize(span_of(attributes, name=name, scope=Scope(scope, "1.0.0")))
    assert (event.convention, event.kind, event.tool) == (convention, Kind.TOOL, "get_weather")
    assert (event.input, event.output) == ('{"city":"Oslo"}', "18C")


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        ("livekit-agents", {"lk.function_tool.name": "get_weather", "lk.function_tool.is_error": True}),
        ("com.anthropic.claude_code.tracing", {"span.type": "tool", "success": "false"}),
        ("genkit-tracer", {"genkit:metadata:subtype": "tool", "genkit:state": "error"}),
    ],
)
def test_a_failure_that_only_an_attribute_tells_is_one(scope: str, attributes: dict[str, Any]) -> None:
    event = Normalizer().normalize(span_of(attributes, name="function_tool", scope=Scope(scope, "")))
    assert (event.kind, event.status) == (Kind.TOOL, Status.ERROR)


def test_usage_that_a_span_of_its_own_repeats_is_not_counted() -> None:
    attributes = {"ag2.span.type": "usage", "gen_ai.response.model": "m", "gen_ai.usage.output_tokens": 20}
    assert Normalizer().normalize(span_of(attributes)).kind == Kind.OTHER


@pytest.mark.parametrize(
    ("scope", "attributes", "source"),
    [
        # Streams without usage: OpenLIT counts words then.
        ("openlit.instrumentation.openai", {}, "estimated"),
        ("openlit.instrumentation.openai", {"gen_ai.usage.cache_read.input_tokens": 0}, "reported"),
        ("openlit.otel.tracing", {"gen_ai.server.time_per_output_token": 0.01}, "estimated"),
        ("openlit.otel.tracing", {}, "reported"),
    ],
)
def test_a_guess_at_usage_counts_and_says_that_it_is_one(
    scope: str, attributes: dict[str, Any], source: str
) -> None:
    usage = {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 40,
        "gen_ai.usage.output_tokens": 11,
    }
    event = Normalizer().normalize(span_of(usage | attributes, scope=Scope(scope, "")))
    assert (event.input_tokens, event.output_tokens, event.usage_source) == (40, 11, source)


@pytest.mark.parametrize(
    ("scope", "usage", "tokens"),
    [
        # Traceloop adds Bedrock's counts up without the cache: its total tells nothing.
        ("opentelemetry.instrumentation.bedrock@0.62.4", (100, 20, 120, 50, 30), (180, 20)),
        ("openlit.instrumentation.anthropic@", (100, 20, None, 50, 30), (180, 20)),
        # Gemini's total has the thoughts that this library does not name.
        ("opentelemetry.instrumentation.google_generativeai@0.62.4", (100, 20, 128, 40, None), (100, 28)),
    ],
)
def test_what_a_library_leaves_out_is_added(
    scope: str, usage: tuple[int | None, ...], tokens: tuple[int, int]
) -> None:
    keys = (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.total_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
    )
    attributes: dict[str, Any] = {"gen_ai.operation.name": "chat"}
    attributes |= {key: count for key, count in zip(keys, usage, strict=True) if count is not None}
    name, _, version = scope.partition("@")
    event = Normalizer().normalize(span_of(attributes, scope=Scope(name, version)))
    assert (event.input_tokens, event.output_tokens) == tokens


def test_attempts_that_a_client_made_within_its_span_are_counted() -> None:
    event = Normalizer().normalize(span_of({"gen_ai.operation.name": "chat", "retry_attempts": 2}))
    assert event.attempts == 3


@pytest.mark.parametrize(
    ("time", "ttft_ms"),
    [
        ('"1970-01-01T00:00:01.250000Z"', 250.0),
        ("1970-01-01T01:00:01.500+01:00", 500.0),
        ("1970-01-01T00:00:00Z", None),
        ("soon", None),
        ('"0001-01-01T00:00:00+23:59"', None),
        (1_250, None),
    ],
    ids=["quoted", "zone", "before", "text", "first", "number"],
)
def test_the_first_token_may_be_told_as_a_time(time: Any, ttft_ms: float | None) -> None:
    attributes = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.completion_start_time": time,
    }
    event = Normalizer().normalize(span_of(attributes, start_ns=10**9, end_ns=3 * 10**9))
    assert event.ttft_ms == ttft_ms


def test_an_answer_that_broke_off_is_a_failure_whatever_its_span_says() -> None:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.response.finish_reasons": ["error"]}
    assert Normalizer().normalize(span_of(attributes, status_code=1)).status == Status.ERROR


def test_no_two_conventions_have_one_name_or_one_place() -> None:
    assert len({convention.id for convention in BUILTIN}) == len(BUILTIN)
    assert len({convention.priority for convention in BUILTIN}) == len(BUILTIN)


def test_a_run_of_spring_ai_is_told_in_texts_only() -> None:
    """Micrometer writes every value as a text, and `none` where nothing failed."""
    scope = Scope("org.springframework.boot", "4.1.0")
    around = {"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai", "error": "none"}
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.usage.input_tokens": "100",
        "gen_ai.usage.output_tokens": "20",
        "gen_ai.usage.total_tokens": "120",
        "gen_ai.response.finish_reasons": '["STOP"]',
        "gen_ai.request.temperature": "0.5",
        "error": "none",
    }
    told: list[tuple[str, dict[str, Any]]] = [
        ("spring_ai chat_client", around | {"spring.ai.kind": "chat_client"}),
        ("call", around | {"spring.ai.kind": "advisor", "spring.ai.advisor.name": "call"}),
        ("chat gpt-4o-mini", call),
        (
            "tool_call get_weather",
            around | {"spring.ai.kind": "tool_call", "spring.ai.tool.definition.name": "get_weather"},
        ),
        ("chat gpt-4o-mini", call),
    ]
    events = [
        Normalizer().normalize(
            span_of(
                attributes,
                name=name,
                scope=scope,
                span_id=f"{number + 1:016x}",
                parent_span_id=f"{min(number, 2):016x}" if number else "",
                start_ns=10**9 + number,
                end_ns=2 * 10**9,
            )
        )
        for number, (name, attributes) in enumerate(told)
    ]
    run = assemble(events).run
    assert (run.counts.llm_calls, run.counts.tool_calls, run.counts.errors) == (2, 1, 0)
    assert (run.usage.input, run.usage.output, run.tools) == (200, 40, ("get_weather",))
    assert events[2].finish_reasons == ("STOP",)
