"""The traps of the conventions that one falls into by reading a key for what it is called: one test each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mappers.assemble import assemble
from mappers.model import Event, Kind, Scope, SpanEvent, Status
from mappers.normalize import Normalizer
from tests.mappers.spans import span_of

CHAT: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}


def read(attributes: dict[str, Any], scope: str = "", version: str = "", **span: Any) -> Event:
    return Normalizer().normalize(span_of(attributes, scope=Scope(scope, version), **span))


# --------------------------------------------------------------------------- types that drift


@pytest.mark.parametrize(
    ("told", "reasons"),
    [
        (["stop"], ("stop",)),
        ('["stop"]', ("stop",)),
        ("stop", ("stop",)),
        ("FinishReason.STOP", ("stop",)),
        (["FinishReason.MAX_TOKENS"], ("max_tokens",)),
        ("", ()),
        ("None", ()),
        ([], ()),
    ],
    ids=str,
)
def test_finish_reasons_are_a_list_a_json_list_a_text_or_an_enum(told: Any, reasons: tuple[str, ...]) -> None:
    assert read(CHAT | {"gen_ai.response.finish_reasons": told}).finish_reasons == reasons


@pytest.mark.parametrize(
    ("key", "told", "streaming"),
    [
        ("llm.is_streaming", "False", False),
        ("llm.is_streaming", "True", True),
        ("llm.is_streaming", True, True),
        ("gen_ai.is_streaming", False, False),
        ("gen_ai.request.is_stream", True, True),
        ("gen_ai.request.stream", True, True),
        ("gen_ai.request.stream", "maybe", None),
    ],
)
def test_streaming_is_told_as_truth_or_as_text(key: str, told: Any, streaming: bool | None) -> None:
    assert read(CHAT | {key: told}).streaming is streaming


@pytest.mark.parametrize(
    ("told", "count"), [(64, 64), (64.0, 64), ("64", 64), (True, None), (-1, None), (None, None)]
)
def test_counts_are_whole_numbers_whatever_they_are_written_as(told: Any, count: int | None) -> None:
    assert read(CHAT | {"gen_ai.usage.input_tokens": told}).input_tokens == count


def test_a_seed_may_be_a_number_or_a_text() -> None:
    assert {read(CHAT | {"gen_ai.request.seed": seed}).parameters["seed"] for seed in (7, "7")} == {"7"}


@pytest.mark.parametrize("nothing", ["", "None"])
def test_empty_texts_and_none_in_words_mean_absent(nothing: str) -> None:
    event = read(
        CHAT | {"gen_ai.response.model": nothing, "gen_ai.response.id": nothing, "session.id": nothing}
    )
    assert (event.response_model, event.response_id, event.session_id) == ("", "", "")


# --------------------------------------------------------------------------- usage


def test_the_old_and_the_new_name_of_a_count_are_not_added() -> None:
    old = {"gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 20}
    new = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}
    event = read(CHAT | old | new)
    assert (event.input_tokens, event.output_tokens) == (100, 20)


def test_usage_that_is_summed_over_an_agent_counts_nowhere() -> None:
    sums = {"gen_ai.aggregated_usage.input_tokens": 330, "gen_ai.usage.input_tokens": 330}
    agent = read({"gen_ai.operation.name": "invoke_agent"} | sums, parent_span_id="", span_id="a" * 16)
    call = read(CHAT | {"gen_ai.usage.input_tokens": 100}, parent_span_id="a" * 16)
    assert agent.input_tokens is None
    assert assemble([agent, call]).run.usage.input == 100
    assert read(CHAT | {"gen_ai.aggregated_usage.input_tokens": 330}).input_tokens is None


@pytest.mark.parametrize(
    "operation", ["agent_step", "invoke_workflow", "create_agent", "execute_event_loop_cycle"]
)
def test_steps_and_workflows_repeat_usage(operation: str) -> None:
    event = read(
        {"gen_ai.operation.name": operation, "gen_ai.usage.input_tokens": 330, "gen_ai.request.model": "m"}
    )
    assert (event.kind in (Kind.LLM, Kind.EMBEDDING), event.input_tokens) == (False, None)


def test_nothing_but_zeros_is_unknown() -> None:
    event = read(CHAT | {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0})
    assert (event.input_tokens, event.output_tokens, event.usage_source) == (None, None, "")


@pytest.mark.parametrize(
    "key",
    [
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.prompt_tokens_details.cached_tokens",
        "gen_ai.usage.cached_tokens",
    ],
)
def test_cache_reads_have_many_names(key: str) -> None:
    assert read(CHAT | {"gen_ai.usage.input_tokens": 100, key: 64}).cache_read_tokens == 64


@pytest.mark.parametrize(
    "key",
    [
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.details.cache_write_tokens",
    ],
)
def test_cache_writes_have_many_names(key: str) -> None:
    assert read(CHAT | {"gen_ai.usage.input_tokens": 100, key: 30}).cache_write_tokens == 30


@pytest.mark.parametrize(
    "key",
    [
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "gen_ai.usage.thinking_tokens",
    ],
)
def test_reasoning_has_many_names(key: str) -> None:
    assert read(CHAT | {"gen_ai.usage.output_tokens": 20, key: 8}).reasoning_tokens == 8


@pytest.mark.parametrize("key", ["gen_ai.usage.cost", "gen_ai.cost.total_cost", "operation.cost"])
def test_a_cost_that_is_told_is_reported(key: str) -> None:
    event = read(CHAT | {key: 0.25, "gen_ai.usage.input_tokens": 100})
    assert (str(event.cost_usd), event.cost_source) == ("0.25", "reported")


# --------------------------------------------------------------------------- kinds


def test_the_tool_that_a_call_asked_for_does_not_make_it_a_tool() -> None:
    event = read(CHAT | {"gen_ai.tool.name": "get_weather", "gen_ai.tool.call.id": "call_1"}, "openlit.otel")
    assert event.kind == Kind.LLM


def test_a_convention_that_writes_json_into_each_attribute_quotes_the_kind() -> None:
    assert read({"mlflow.spanType": '"CHAT_MODEL"'}).kind == Kind.LLM
    assert read({"mlflow.spanType": '"TOOL"'}).kind == Kind.TOOL


@pytest.mark.parametrize(
    ("scope", "name", "attributes", "kind"),
    [
        (
            "openinference.instrumentation.llama_index",
            "OpenAI._prepare_chat_with_tools",
            {"openinference.span.kind": "LLM"},
            Kind.OTHER,
        ),
        (
            "openinference.instrumentation.langchain",
            "transfer_to_billing_agent",
            {"openinference.span.kind": "AGENT", "tool.name": "transfer_to_billing_agent"},
            Kind.HANDOFF,
        ),
        (
            "openinference.instrumentation.langchain",
            "ask_agent_smith",
            {"openinference.span.kind": "AGENT", "tool.name": "ask_agent_smith"},
            Kind.TOOL,
        ),
        (
            "openinference.instrumentation.openai_agents",
            "handoff to billing_agent",
            {"openinference.span.kind": "TOOL"},
            Kind.HANDOFF,
        ),
        (
            "openinference.instrumentation.google_adk",
            "invoke_agent weather_agent",
            {"openinference.span.kind": "LLM"},
            Kind.AGENT,
        ),
        (
            "opentelemetry.instrumentation.llamaindex",
            "FunctionTool.task",
            {"traceloop.span.kind": "task", "tool.name": "get_weather"},
            Kind.TOOL,
        ),
    ],
)
def test_what_a_library_calls_a_span_it_need_not_be(
    scope: str, name: str, attributes: dict[str, Any], kind: Kind
) -> None:
    assert read(attributes, scope, "0.62.4", name=name).kind == kind


@pytest.mark.parametrize(
    ("scope", "name", "attributes"),
    [
        ("agent_framework", "workflow.build", {}),
        ("haystack", "haystack.tracing.auto_enable", {}),
        ("", "create_agent weather_agent", {"gen_ai.operation.name": "create_agent"}),
    ],
)
def test_a_trace_that_only_sets_up_is_no_run(scope: str, name: str, attributes: dict[str, Any]) -> None:
    event = read(attributes, scope, "1.0", name=name, parent_span_id="")
    assert assemble([event]).run.setup_only


@pytest.mark.parametrize(
    ("name", "kind"),
    [("chat gpt-4o", Kind.LLM), ("execute_tool get_weather", Kind.TOOL), ("invoke_agent a", Kind.AGENT)],
)
def test_a_failed_call_may_have_no_attributes_at_all(name: str, kind: Kind) -> None:
    event = read({}, "openlit.otel.tracing", "", name=name, status_code=2)
    assert (event.kind, event.status) == (kind, Status.ERROR)
    assert read({}, "my.web.app", "", name=name).kind == Kind.OTHER


def test_the_names_of_old_litellm_attributes_are_taken_literally() -> None:
    attributes = {
        "llm.request.type": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "SpanAttributes.LLM_PROMPTS.0.content": "Weather in Paris?",
        "SpanAttributes.LLM_COMPLETIONS.0.content": "18C",
    }
    event = read(attributes, "litellm")
    assert (event.kind, event.input, event.output) == (Kind.LLM, "Weather in Paris?", "18C")


# --------------------------------------------------------------------------- content, labels, time


def test_marks_of_redaction_are_no_content() -> None:
    attributes = {"openinference.span.kind": "TOOL", "tool.name": "t", "input.value": "__REDACTED__"}
    assert read(attributes).args_hash == 0


def test_tool_calls_that_are_told_twice_are_requested_once() -> None:
    call = {"id": "toolu_1", "function.name": "get_weather", "function.arguments": '{"city": "Paris"}'}
    message = "llm.output_messages.0.message"
    attributes = {
        "openinference.span.kind": "LLM",
        f"{message}.role": "assistant",
        **{f"{message}.tool_calls.0.tool_call.{key}": value for key, value in call.items()},
        **{f"{message}.contents.0.tool_call.{key}": value for key, value in call.items()},
    }
    assert [request.name for request in read(attributes).tool_requests] == ["get_weather"]


def test_two_span_events_may_hold_input_and_output_apart() -> None:
    named = "gen_ai.client.inference.operation.details"
    asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}])
    answered = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "18C"}]}])
    span = span_of(CHAT)
    span.events = (
        SpanEvent(1, named, {"gen_ai.input.messages": asked}),
        SpanEvent(2, named, {"gen_ai.output.messages": answered}),
    )
    event = Normalizer().normalize(span)
    assert (event.input, event.output) == ("Weather?", "18C")


@pytest.mark.parametrize(
    ("key", "told", "ttft_ms"),
    [
        ("gen_ai.response.time_to_first_chunk", 0.25, 250.0),
        ("gen_ai.server.time_to_first_token", 250, 250.0),
        ("gen_ai.server.time_to_first_token", 0.25, 250.0),
        ("ai.response.msToFirstChunk", 250.0, 250.0),
    ],
)
def test_the_first_token_is_told_in_several_units(key: str, told: Any, ttft_ms: float) -> None:
    assert read(CHAT | {"ai.operationId": "ai.streamText.doStream", key: told}, "ai").ttft_ms == ttft_ms


def test_a_session_that_a_library_made_up_is_weak() -> None:
    event = read(CHAT | {"gen_ai.conversation.id": "made-up"})
    assert (event.session_id, event.session_is_weak) == ("made-up", True)
    named = read(CHAT | {"gen_ai.conversation.id": "made-up", "session.id": "named"})
    assert (named.session_id, named.session_is_weak) == ("named", False)


@pytest.mark.parametrize("key", ["session_id", "thread_id"])
def test_association_properties_name_the_session(key: str) -> None:
    attributes = {"traceloop.span.kind": "workflow", f"traceloop.association.properties.{key}": "s-1"}
    assert read(attributes).session_id == "s-1"


def test_an_agent_within_itself_is_named_once() -> None:
    outer = read(
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"},
        parent_span_id="",
        span_id="a" * 16,
    )
    inner = read({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}, parent_span_id="a" * 16)
    assert assemble([outer, inner]).run.agents == ("a",)


def test_attributes_of_the_resource_may_be_repeated_on_spans() -> None:
    assert read(CHAT | {"service.name": "not the service", "telemetry.sdk.name": "openlit"}).service == ""


# --------------------------------------------------------------------------- handoffs


@pytest.mark.parametrize(
    ("tool", "arguments", "target"),
    [
        ("transfer_to_billing_agent", {}, "billing_agent"),
        ("Handoff-transfer_to_billing", {}, "billing"),
        ("transfer_back_to_supervisor", {}, "supervisor"),
        ("transfer_to_agent", {"agent_name": "billing"}, "billing"),
        ("handoff_to_agent", {"agent_name": "billing"}, "billing"),
        ("handoff", {"to_agent": "billing"}, "billing"),
        ("delegate_task_to_member", {"member_id": "billing"}, "billing"),
        ("Delegate work to coworker", {"coworker": "Billing Expert"}, "Billing Expert"),
        ("Ask question to coworker", {"kwargs": {"coworker": "Billing Expert"}}, "Billing Expert"),
    ],
)
def test_a_handoff_names_its_target_in_its_name_or_in_its_arguments(
    tool: str, arguments: dict[str, Any], target: str
) -> None:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.call.arguments": json.dumps(arguments),
    }
    event = read(attributes)
    assert (event.kind, event.handoff_to, event.handoff_source) == (Kind.HANDOFF, target, "tool_span")


@pytest.mark.parametrize(
    "tool", ["transfer_money", "transfer_to", "handoffs_of_today", "delegate", "Handoff-complete_task"]
)
def test_other_tools_hand_over_nothing(tool: str) -> None:
    assert read({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}).kind == Kind.TOOL
