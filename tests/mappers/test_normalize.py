from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappers.conventions import BUILTIN
from mappers.conventions.registry import Registry
from mappers.model import Kind, Resource, Scope, SpanEvent, Status
from mappers.normalize import PREVIEW, TOOL_TEXT, Normalizer
from mappers.project import project_of
from tests.mappers.spans import span_of

KNOWN = sorted(Registry(BUILTIN).known)
FLATTENED = [
    "llm.input_messages.99999999999.message.content",
    "llm.input_messages.9999.message.role",
    "llm.input_messages.-1.message.content",
    "llm.output_messages.0.message.tool_calls.²",
    "llm.output_messages..message",
    "gen_ai.prompt.0.content",
    "gen_ai.prompt.0.content.0.text",
    "gen_ai.prompt.",
    ".",
    "",
]
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=40),
        st.binary(max_size=8),
        st.sampled_from(
            [
                "LLM",
                "tool",
                "chat",
                "[" * 300,
                '{"a":' * 2000,
                "(" * 300,
                "\ud800",
                "{'a': 1}",
                "[1e999]",
                '"x"',
            ]
        ),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    attributes=st.dictionaries(
        st.sampled_from(KNOWN + FLATTENED) | st.text(max_size=12), VALUES, max_size=14
    ),
    name=st.text(max_size=20),
    scope=st.sampled_from(
        [
            "",
            "openinference.instrumentation.langchain",
            "opentelemetry.instrumentation.x",
            "haystack",
            "llamaindex.opentelemetry.tracer",
            "gcp.vertex.agent",
            "pydantic-ai",
        ]
    ),
    event_attributes=st.dictionaries(
        st.sampled_from(["exception.type", "exception.message", "gen_ai.input.messages"]), VALUES, max_size=3
    ),
    status_code=st.sampled_from([0, 1, 2]),
)
def test_nothing_that_a_span_carries_makes_it_raise(
    attributes: dict[str, Any],
    name: str,
    scope: str,
    event_attributes: dict[str, Any],
    status_code: int,
) -> None:
    normalizer = Normalizer()
    event = normalizer.normalize(
        span_of(
            attributes,
            name=name,
            scope=Scope(scope, "0.1.0"),
            status_code=status_code,
            events=[SpanEvent(5, "exception", event_attributes)],
        )
    )
    assert event.name == name
    assert len(event.input) <= (TOOL_TEXT if event.tool else PREVIEW)
    assert not normalizer.faults


def test_a_span_that_nobody_understands_keeps_its_names_times_and_status() -> None:
    span = span_of({"http.route": "/"}, name="GET /", status_code=2, status_message="boom", end_ns=9)
    event = Normalizer().normalize(span)
    assert (event.kind, event.name, event.end_ns) == (Kind.OTHER, "GET /", 9)
    assert (event.status, event.error_message, event.convention) == (Status.ERROR, "boom", "")


def test_an_open_span_is_running() -> None:
    assert Normalizer().normalize(span_of(end_ns=0)).status == Status.RUNNING


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"openinference.span.kind": "CHAIN"}, Kind.WORKFLOW),
        ({"openinference.span.kind": "llm", "gen_ai.operation.name": "invoke_agent"}, Kind.LLM),
        ({"traceloop.span.kind": "tool", "gen_ai.operation.name": "chat"}, Kind.TOOL),
        ({"traceloop.span.kind": "workflow", "gen_ai.operation.name": "invoke_agent"}, Kind.AGENT),
        ({"traceloop.span.kind": "task"}, Kind.WORKFLOW),
        ({"llm.request.type": "embedding"}, Kind.EMBEDDING),
        # A chat span may carry the name of the tool that the model asked for.
        ({"gen_ai.operation.name": "chat", "gen_ai.tool.name": "get_weather"}, Kind.LLM),
        ({"gen_ai.tool.name": "get_weather"}, Kind.TOOL),
        ({"tool.name": "get_weather", "input.value": "Paris"}, Kind.TOOL),
        ({"gen_ai.operation.name": "create_agent"}, Kind.OTHER),
        ({"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 3}, Kind.LLM),
        ({"llm.model_name": "m", "llm.token_count.prompt": 3}, Kind.LLM),
    ],
)
def test_the_first_rule_that_answers_gives_the_kind(attributes: dict[str, Any], kind: Kind) -> None:
    assert Normalizer().normalize(span_of(attributes)).kind == kind


def test_spans_without_attributes_are_known_by_name_in_scopes_that_tell_of_models() -> None:
    inside = span_of(name="chat gpt-4o-mini", scope=Scope("openlit.otel.tracing", ""))
    outside = span_of(name="chat gpt-4o-mini", scope=Scope("my.app", ""))
    normalizer = Normalizer()
    assert normalizer.normalize(inside).kind == Kind.LLM
    assert normalizer.normalize(inside).request_model == "gpt-4o-mini"
    assert normalizer.normalize(outside).kind == Kind.OTHER


@pytest.mark.parametrize(
    ("generation", "attributes"),
    [
        (
            "0.10",
            {
                "llm.request.type": "chat",
                "llm.vendor": "openai",
                "llm.request.model": "gpt-4",
                "llm.response.model": "gpt-4-0613",
                "llm.prompts.0.content": "Hello",
                "llm.completions.0.content": "Hi",
                "llm.usage.prompt_tokens": 7,
                "llm.usage.completion_tokens": 2,
            },
        ),
        (
            "0.33",
            {
                "llm.request.type": "chat",
                "gen_ai.system": "openai",
                "gen_ai.request.model": "gpt-4",
                "gen_ai.response.model": "gpt-4-0613",
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": "Hello",
                "gen_ai.completion.0.content": "Hi",
                "gen_ai.usage.prompt_tokens": 7,
                "gen_ai.usage.completion_tokens": 2,
            },
        ),
        (
            "0.62",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4",
                "gen_ai.response.model": "gpt-4-0613",
                "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Hello"}]}]',
                "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"Hi"}]}]',
                "gen_ai.usage.input_tokens": 7,
                "gen_ai.usage.output_tokens": 2,
            },
        ),
    ],
)
def test_all_generations_of_traceloop_say_the_same(generation: str, attributes: dict[str, Any]) -> None:
    scope = Scope("opentelemetry.instrumentation.openai.v1", f"{generation}.1")
    event = Normalizer().normalize(span_of(attributes, scope=scope))
    assert (event.convention, event.kind, event.provider) == ("traceloop", Kind.LLM, "openai")
    assert (event.request_model, event.response_model) == ("gpt-4", "gpt-4-0613")
    assert (event.input, event.output) == ("Hello", "Hi")
    assert (event.input_tokens, event.output_tokens, event.usage_source) == (7, 2, "reported")


LLM = {"gen_ai.operation.name": "chat"}


@pytest.mark.parametrize(
    ("usage", "scope", "tokens"),
    [
        # As most say it: the input includes the cache, the output the reasoning.
        ((180, 20, 50, 30, 8, None), "", (180, 20)),
        # The library is known to leave the cache out.
        ((100, 20, 50, 30, None, None), "opentelemetry.instrumentation.botocore", (180, 20)),
        # The total says that it is left out, or that it is not.
        ((100, 20, 50, 30, None, 200), "", (180, 20)),
        ((180, 20, 50, 30, None, 200), "opentelemetry.instrumentation.botocore", (180, 20)),
        # More cache than input can not be part of it.
        ((5, 20, 9_000, None, None, None), "", (9_005, 20)),
        # Gemini leaves reasoning out of the output.
        ((100, 20, None, None, 8, 128), "", (100, 28)),
        # Nothing but zeros: nobody counted.
        ((0, 0, None, None, None, 0), "", (None, None)),
    ],
)
def test_input_includes_the_cache_and_output_the_reasoning(
    usage: tuple[int | None, ...], scope: str, tokens: tuple[int | None, int | None]
) -> None:
    keys = (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.total_tokens",
    )
    attributes = LLM | {key: count for key, count in zip(keys, usage, strict=True) if count is not None}
    event = Normalizer().normalize(span_of(attributes, scope=Scope(scope, "")))
    assert (event.input_tokens, event.output_tokens) == tokens


def test_sums_of_agents_are_not_taken_for_calls() -> None:
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 300}
    assert Normalizer().normalize(span_of(attributes)).input_tokens is None


@pytest.mark.parametrize(
    ("attributes", "ttft_ms"),
    [
        ({"gen_ai.response.time_to_first_chunk": 0.25}, 250.0),
        ({"gen_ai.server.time_to_first_token": 22}, 22.0),
        ({"gen_ai.server.time_to_first_token": 0.022}, 22.0),
        ({"gen_ai.response.time_to_first_chunk": math.nan}, None),
        ({"gen_ai.response.time_to_first_chunk": -1.0}, None),
    ],
)
def test_time_to_first_token_is_in_milliseconds_whatever_it_was_sent_in(
    attributes: dict[str, Any], ttft_ms: float | None
) -> None:
    event = Normalizer().normalize(span_of(LLM | attributes))
    assert event.ttft_ms == (None if ttft_ms is None else pytest.approx(ttft_ms))


def test_the_first_token_may_be_a_span_event() -> None:
    first = SpanEvent(1_030_000_000, "First Token Stream Event", {})
    event = Normalizer().normalize(span_of({"openinference.span.kind": "LLM"}, events=[first]))
    assert event.ttft_ms == 30.0


@pytest.mark.parametrize(
    ("message", "exception"),
    [
        ("Command(graph='triage', update={})", ""),
        ("ParentCommand", "langgraph.errors.ParentCommand"),
        ("", "GraphInterrupt"),
        ("", "langgraph.errors.GraphBubbleUp"),
        # LangSmith passes the exception on as a text.
        ("ParentCommand(Command(graph='__parent__', update={}))Traceback …", "Exception"),
    ],
)
def test_graph_control_flow_is_no_error(message: str, exception: str) -> None:
    events = [SpanEvent(5, "exception", {"exception.type": exception})] if exception else []
    event = Normalizer().normalize(span_of(status_code=2, status_message=message, events=events))
    assert (event.status, event.error_type, event.error_message) == (Status.OK, "", "")


def test_an_error_has_the_type_and_message_of_its_exception() -> None:
    exception = {"exception.type": "openai.RateLimitError", "exception.message": "slow down"}
    span = span_of(
        LLM, status_code=2, status_message="RateLimitError: …", events=[SpanEvent(5, "exception", exception)]
    )
    event = Normalizer().normalize(span)
    assert (event.error_type, event.error_message) == ("openai.RateLimitError", "slow down")


def test_an_error_without_an_exception_names_its_type_in_the_message() -> None:
    event = Normalizer().normalize(span_of(LLM, status_code=2, status_message="openai.APIError: no"))
    assert (event.error_type, event.error_message) == ("openai.APIError", "openai.APIError: no")


@pytest.mark.parametrize(
    "arguments",
    [
        '{"city": "Paris", "unit": "C"}',
        '{"unit":"C","city":"Paris"}',
        "{'city': 'Paris', 'unit': 'C'}",
        '{"args": [], "kwargs": {"city": "Paris", "unit": "C"}}',
        "{\"input_str\": \"{'unit': 'C', 'city': 'Paris'}\", \"tags\": [], \"inputs\": null}",
        '{"inputs": {"city": "Paris", "unit": "C"}, "tags": [], "metadata": {}}',
        {"city": "Paris", "unit": "C"},
    ],
)
def test_equal_arguments_have_equal_hashes_whatever_is_wrapped_around_them(arguments: Any) -> None:
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": arguments}
    event = Normalizer().normalize(span_of(attributes))
    plain = Normalizer().normalize(
        span_of(attributes | {"gen_ai.tool.call.arguments": '{"city":"Paris","unit":"C"}'})
    )
    assert event.args_hash == plain.args_hash != 0
    assert event.input == '{"city":"Paris","unit":"C"}'


@pytest.mark.parametrize("absent", [None, "", "__REDACTED__"])
def test_what_was_not_captured_has_no_hash(absent: Any) -> None:
    attributes = {"openinference.span.kind": "TOOL", "tool.name": "t", "input.value": absent}
    event = Normalizer().normalize(span_of(attributes))
    assert (event.args_hash, event.result_hash) == (0, 0)


@pytest.mark.parametrize(
    ("tool", "arguments", "to"),
    [
        ("transfer_to_billing_agent", "{}", "billing_agent"),
        ("transfer_back_to_supervisor", "{}", "supervisor"),
        ("Handoff-transfer_to_billing_agent", "{}", "billing_agent"),
        ("transfer_to_agent", '{"agent_name": "billing"}', "billing"),
        ("delegate_task_to_member", '{"kwargs": {"member_id": "m1"}}', "m1"),
        ("Delegate work to coworker", '{"coworker": "Senior Writer"}', "Senior Writer"),
        ("handoff", "[]", ""),
        ("get_weather", "{}", None),
        ("transfer_to_agent_pool", "{}", "agent_pool"),
    ],
)
def test_a_tool_that_hands_over_is_a_handoff(tool: str, arguments: str, to: str | None) -> None:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.call.arguments": arguments,
    }
    event = Normalizer().normalize(span_of(attributes))
    assert event.tool == tool
    assert event.kind == (Kind.TOOL if to is None else Kind.HANDOFF)
    assert event.handoff_to == (to or "")
    assert event.handoff_source == ("" if to is None else "tool_span")


def test_the_preview_of_a_call_is_the_end_of_its_input_and_the_start_of_its_output() -> None:
    attributes: dict[str, Any] = {"openinference.span.kind": "LLM"}
    for index in (0, 2, 10):
        attributes[f"llm.input_messages.{index}.message.role"] = "user"
        attributes[f"llm.input_messages.{index}.message.content"] = f"message {index}"
    call = "llm.output_messages.0.message.tool_calls.0.tool_call.function."
    attributes |= {call + "name": "get_weather", call + "arguments": '{"city": "Paris"}'}
    event = Normalizer().normalize(span_of(attributes))
    assert (event.input, event.output) == ("message 10", 'get_weather({"city": "Paris"})')


HISTORY = [
    {"role": "user", "content": "Weather in Rome?"},
    {"role": "assistant", "content": "Sunny."},
    {"role": "user", "content": "And in Paris?"},
    {"role": "assistant", "content": "18C."},
]


@pytest.mark.parametrize(("kind", "shown"), [("AGENT", "And in Paris?"), ("LLM", "18C.")])
def test_an_agent_was_asked_what_the_user_said_last_even_if_it_tells_its_answer_too(
    kind: str, shown: str
) -> None:
    attributes = {"openinference.span.kind": kind, "input.value": json.dumps({"messages": HISTORY})}
    assert Normalizer().normalize(span_of(attributes)).input == shown


def test_a_message_without_words_leaves_the_preview_to_the_whole_answer() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "ask", "arguments": "{}"}}
    body = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}]}
    attributes = {
        "openinference.span.kind": "LLM",
        "llm.output_messages.0.message.role": "assistant",
        "output.value": json.dumps(body),
    }
    assert Normalizer().normalize(span_of(attributes)).output == "ask({})"


@pytest.mark.parametrize(("streaming", "ttft_ms"), [(True, 250.0), (False, None)])
def test_an_answer_that_came_as_a_whole_has_no_first_token(streaming: bool, ttft_ms: float | None) -> None:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.stream": streaming,
        "gen_ai.response.time_to_first_chunk": 0.25,
    }
    assert Normalizer().normalize(span_of(attributes)).ttft_ms == ttft_ms


def test_where_nobody_counted_nothing_is_known_of_the_cache_either() -> None:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 0,
        "gen_ai.usage.output_tokens": 0,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
    }
    event = Normalizer().normalize(span_of(attributes))
    assert (event.input_tokens, event.cache_read_tokens, event.reasoning_tokens) == (None, None, None)


def test_a_long_text_is_cut_but_its_whole_size_is_told() -> None:
    attributes = {"openinference.span.kind": "CHAIN", "input.value": "é" * 1_000}
    event = Normalizer().normalize(span_of(attributes, parent_span_id="f" * 16))
    assert (len(event.input), event.input_bytes) == (PREVIEW, 2_000)


@pytest.mark.parametrize(
    ("answer", "identity"),
    [
        ('{"id": "chatcmpl-7", "choices": []}', "chatcmpl-7"),
        ('{"choices": [{"id": "inner"}], "id": "chatcmpl-7"}', "chatcmpl-7"),
        ('{ "id" : "chatcmpl-7", "choices": [{"message": {"content": "cut o', "chatcmpl-7"),
        ('{"id": "chatcmpl-', ""),
        ('{"id": "a\\u0062c", "choices": []}', "abc"),
        ('{"object": "x", "choices": [{"id": "inner"}]}', ""),
        ("{'id': 'chatcmpl-7', 'choices': []}", "chatcmpl-7"),
    ],
)
def test_an_answer_has_the_id_it_begins_with_even_if_it_was_cut_off(answer: str, identity: str) -> None:
    event = Normalizer().normalize(span_of({"openinference.span.kind": "LLM", "output.value": answer}))
    assert event.response_id == identity


def test_calls_in_flattened_messages_are_requests_each_once() -> None:
    said = "llm.output_messages.{}.message.tool_calls.{}.tool_call."
    attributes: dict[str, Any] = {"openinference.span.kind": "LLM", "output.value": "cut off"}
    for message, call, name in [(0, 0, "look"), (0, 1, "ask"), (2, 0, "look")]:
        place = said.format(message, call)
        attributes[place + "function.name"] = name
        attributes[place + "function.arguments"] = '{"q": 1}'
        attributes[place + "id"] = f"{message}.{call}"
    normalizer = Normalizer()
    found = normalizer.normalize(span_of(attributes)).tool_requests
    assert [(request.id, request.name) for request in found] == [
        ("0.0", "look"), ("0.1", "ask"), ("2.0", "look"),
    ]  # fmt: skip
    attributes[said.format(0, 0) + "function.name"] = 5
    assert [request.id for request in normalizer.normalize(span_of(attributes)).tool_requests] == ["2.0"]


def test_fields_come_from_every_convention_on_the_span_the_vendors_first() -> None:
    attributes = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "from-openinference",
        "gen_ai.response.model": "from-gen-ai",
        "gen_ai.response.id": "chatcmpl-1",
    }
    event = Normalizer().normalize(span_of(attributes))
    assert event.convention == "openinference"
    assert (event.response_model, event.response_id) == ("from-openinference", "chatcmpl-1")


def test_reported_cost_resends_and_labels_are_read() -> None:
    attributes = LLM | {
        "operation.cost": 0.0007275,
        "http.request.resend_count": 2,
        "gen_ai.response.finish_reasons": json.dumps(["stop"]),
        "gen_ai.request.stream": "True",
        "session.id": "s",
        "user.id": "None",
    }
    resource = Resource({"service.name": "svc", "deployment.environment": "prod"})
    event = Normalizer().normalize(span_of(attributes, resource=resource))
    assert (event.cost_usd, event.cost_source) == (Decimal("0.0007275"), "reported")
    assert (event.attempts, event.finish_reasons, event.streaming) == (3, ("stop",), True)
    assert (event.session_id, event.user_id) == ("s", "")
    assert (event.service, event.environment) == ("svc", "prod")


def test_a_project_is_never_the_service() -> None:
    assert project_of(Resource({"service.name": "svc"})) is None
    assert project_of(Resource({"loop.project": "b", "openinference.project.name": "a"})) == "a"


def test_messages_that_are_span_events_are_the_content() -> None:
    """As Strands and early GenAI instrumentations tell them."""
    told = [
        ("gen_ai.system.message", {"content": "Be brief."}),
        ("gen_ai.user.message", {"content": '[{"text": "Weather in Paris?"}]'}),
        (
            "gen_ai.choice",
            {
                "finish_reason": "tool_use",
                "message": '[{"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": {"city": "Paris"}}}]',
            },
        ),
    ]
    event = Normalizer().normalize(
        span_of(
            {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"},
            events=[SpanEvent(n, name, attributes) for n, (name, attributes) in enumerate(told)],
        )
    )
    assert (event.input, event.finish_reasons) == ("Weather in Paris?", ("tool_use",))
    assert [request.name for request in event.tool_requests] == ["get_weather"]
    assert event.output.startswith("get_weather(")
