"""Log records that tell of model calls, on their own and with their spans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.deriver.callindex import CallIndex
from mappers.assemble import assemble
from mappers.foreign import join
from mappers.model import Event, Kind, LogRecord, Resource, Scope
from mappers.normalize import Normalizer
from mappers.records import DETAILS, RecordReader
from tests.corpus import captured, select
from tests.mappers.spans import captured_logs, captured_runs, captured_spans, span_of
from tests.mappers.test_normalize import VALUES

TRACE, SPAN = "0" * 31 + "1", "0" * 15 + "1"


def record_of(
    name: str, body: Any = None, attributes: dict[str, Any] | None = None, **given: Any
) -> LogRecord:
    usual: dict[str, Any] = {
        "time_ns": 1_500_000_000,
        "observed_ns": 0,
        "trace_id": TRACE,
        "span_id": SPAN,
        "flags": 0,
        "severity_number": 9,
        "severity_text": "",
        "resource": Resource(),
        "scope": Scope(),
    }
    return LogRecord(**usual | given, event_name=name, body=body, attributes=attributes or {})


def read(record: LogRecord) -> Event | None:
    return RecordReader(Normalizer()).event(record)


def call(**attributes: Any) -> Event:
    keys = {f"gen_ai.{name.replace('__', '.')}": value for name, value in attributes.items()}
    return Normalizer().normalize(
        span_of({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"} | keys)
    )


@pytest.mark.parametrize("scenario", list(select("gen_ai/openai-v2-", "gen_ai/genai-openai-event/")), ids=str)
def test_every_captured_call_gets_the_content_of_its_log_records(scenario: Any) -> None:
    normalizer = Normalizer()
    reader = RecordReader(normalizer)
    parts = [event for log in captured_logs(scenario) if (event := reader.event(log))]
    by_trace: dict[str, list[Event]] = {}
    for event in [*parts, *map(normalizer.normalize, captured_spans(scenario))]:
        by_trace.setdefault(event.run_id, []).append(event)
    told = {part.parent_span_id for part in parts}
    for events in by_trace.values():
        run = assemble(events).run
        calls = [event for event in events if event.kind == Kind.LLM and event.span_id in told]
        assert run.counts.spans == len(events) - sum(bool(event.part) for event in events)
        for event in calls:
            assert event.input
            assert event.args_hash
            assert event.status == "error" or (event.output and event.finish_reasons)
    assert not normalizer.faults


def test_messages_make_the_input_and_choices_the_output() -> None:
    event = call()
    parts = [
        read(record_of("gen_ai.system.message", {"content": "Be brief."}, time_ns=1_100_000_000)),
        read(record_of("gen_ai.user.message", {"content": "Weather in Paris?"}, time_ns=1_200_000_000)),
        read(
            record_of(
                "",
                {"index": 0, "finish_reason": "stop", "message": {"content": "18C", "role": "assistant"}},
                {"event.name": "gen_ai.choice", "gen_ai.system": "openai"},
            )
        ),
    ]
    run = assemble([event, *filter(None, parts)]).run
    assert (event.input, event.output, event.finish_reasons) == ("Weather in Paris?", "18C", ("stop",))
    assert (run.input, run.output, run.counts.llm_calls, run.counts.spans) == (
        "Weather in Paris?",
        "18C",
        1,
        1,
    )


@pytest.mark.parametrize("scenario", [one for one in captured() if "aws-distro" in str(one)], ids=str)
def test_content_that_a_distribution_took_out_of_spans_is_put_back(scenario: Any) -> None:
    _, events = captured_runs(scenario)
    told = {event.kind: event for event in events if not event.part and event.kind != Kind.OTHER}
    assert (told[Kind.LLM].input, told[Kind.LLM].output) in (
        ("18C", "It is 18C and cloudy."),
        ("Weather in Paris?", "It is 18C and cloudy."),
    )
    assert (told[Kind.TOOL].input, told[Kind.TOOL].output) == ('{"city":"Paris"}', "18C")
    outermost = told.get(Kind.AGENT) or told[Kind.WORKFLOW]
    assert outermost.input == "Weather in Paris?"
    asked = [request.name for event in events if event.kind == Kind.LLM for request in event.tool_requests]
    assert asked in ([], ["get_weather"])


@pytest.mark.parametrize(
    "body",
    [
        {"input": {"messages": [{"content": "x"}]}, "level": "info"},
        {"input": "x"},
        {"input": {"messages": "x"}},
        {"output": [{"content": "x"}]},
        {},
    ],
)
def test_other_records_that_name_a_span_are_not_its_content(body: Any) -> None:
    assert read(record_of("app", body)) is None


@pytest.mark.parametrize(
    "message", [None, 1, "text", [], {"content": {"finish_reason": 1}}, {"content": [[]]}]
)
def test_any_message_may_have_been_taken_out(message: Any) -> None:
    reader = RecordReader(normalizer := Normalizer())
    record = record_of("strands.telemetry.tracer", {"output": {"messages": [message]}})
    part = reader.event(record)
    assert part is not None
    assert part.part == "content"
    assert reader.content(record)[0] is None
    assert not normalizer.faults


def test_two_details_records_of_one_call_add_up() -> None:
    name = "gen_ai.client.inference.operation.details"
    asked = [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
    answered = [
        {"role": "assistant", "parts": [{"type": "text", "content": "Hello"}], "finish_reason": "stop"}
    ]
    first = read(record_of(name, None, {"gen_ai.operation.name": "chat", "gen_ai.input.messages": asked}))
    second = read(
        record_of(
            name,
            None,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.output.messages": answered,
                "gen_ai.usage.input_tokens": 9,
                "gen_ai.usage.output_tokens": 3,
            },
        )
    )
    assert first is not None
    assert second is not None
    event = call()
    run = assemble([second, event, first]).run
    assert (event.input, event.output) == ("Hi", "Hello")
    assert (run.usage.input, run.usage.output, run.counts.llm_calls) == (9, 3, 1)


def test_a_span_keeps_what_it_says_itself() -> None:
    event = call(usage__input_tokens=100, usage__output_tokens=20)
    detail = read(
        record_of(
            "gen_ai.client.inference.operation.details",
            None,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.usage.input_tokens": 1,
                "gen_ai.usage.output_tokens": 1,
            },
        )
    )
    assert detail
    run = assemble([event, detail]).run
    assert (run.usage.input, run.usage.output) == (100, 20)


def test_a_record_sent_again_is_the_same_event_and_others_are_not() -> None:
    first = read(record_of("gen_ai.user.message", {"content": "one"}))
    again = read(record_of("gen_ai.user.message", {"content": "one"}))
    other = read(record_of("gen_ai.user.message", {"content": "two"}))
    assert first is not None
    assert other is not None
    assert first == again
    assert first.span_id != other.span_id


@pytest.mark.parametrize(
    "record",
    [
        record_of("gen_ai.user.message", {"content": "x"}, span_id=""),
        record_of("gen_ai.user.message", {"content": "x"}, trace_id=""),
        record_of("other.event", "text"),
        record_of("", "Calling function"),
    ],
)
def test_a_record_that_tells_of_no_call_is_no_event(record: LogRecord) -> None:
    assert read(record) is None


UNPLACED: dict[str, Any] = {"trace_id": "", "span_id": "", "time_ns": 2_100_000_000}
ANSWER = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
}


def test_a_record_of_a_call_that_names_no_span_is_the_call_of_its_response_id() -> None:
    event = read(record_of(DETAILS, attributes=ANSWER, **UNPLACED))
    assert event is not None
    assert (event.kind, event.name, event.input_tokens, event.part) == (Kind.LLM, "chat gpt-4o-mini", 100, "")
    span = call(response__id="chatcmpl-1", usage__input_tokens=100)
    span.end_ns = 2_000_000_000
    twins = join([span, event])
    assert twins[event.run_id, event.span_id].counted_as == span.span_id
    assert assemble([event], {event.span_id: twins[event.run_id, event.span_id]}).run.duplicate_of == TRACE


def test_a_record_is_of_the_call_that_its_library_tells_without_an_id() -> None:
    process = Resource({"service.instance.id": "p1"})
    told = {"resource": process, "scope": Scope("openlit", "1")}
    event = read(record_of(DETAILS, attributes=ANSWER, **UNPLACED | told))
    assert event is not None
    span = Normalizer().normalize(span_of({"gen_ai.operation.name": "chat"}, end_ns=2_000_000_000, **told))
    other_library = replace(span, scope="another")
    other_tokens = replace(span, input_tokens=7, usage_source="reported")
    assert join([span, event])[event.run_id, event.span_id].counted_as == span.span_id
    assert not join([other_library, event])
    assert not join([other_tokens, event])
    index = CallIndex()
    for one, other in ((span, event), (event, span)):
        index.add(one)
        index.add(other)
        assert len(index.group(one)) == len(index.group(other)) == 2
        index.discard([one, other])


@pytest.mark.parametrize("change", [{"response__id": "chatcmpl-2"}, {"late": 10**10}], ids=["id", "time"])
def test_a_record_is_of_no_other_call(change: dict[str, Any]) -> None:
    late = change.pop("late", 0)
    event = read(record_of(DETAILS, attributes=ANSWER, **UNPLACED | {"time_ns": 2_100_000_000 + late}))
    span = call(**{"response__id": "chatcmpl-1"} | change)
    span.end_ns = 2_000_000_000
    assert event is not None
    assert not join([span, event])


def test_calls_that_only_records_tell_are_a_run_of_their_conversation() -> None:
    attributes = ANSWER | {"gen_ai.conversation.id": "talk"}
    first, again, second = (
        read(record_of(DETAILS, attributes=attributes | told, **UNPLACED))
        for told in ({}, {"gen_ai.output.messages": "[]"}, {"gen_ai.response.id": "chatcmpl-2"})
    )
    assert first is not None
    assert again is not None
    assert second is not None
    assert first.run_id == again.run_id == second.run_id
    run = assemble([first, again, second]).run
    assert (run.counts.llm_calls, run.usage.input, run.session_id) == (2, 200, "talk")


def test_a_record_within_a_trace_that_names_no_span_is_its_call_once_more() -> None:
    event = read(record_of(DETAILS, attributes=ANSWER, **UNPLACED | {"trace_id": TRACE}))
    span = call(response__id="chatcmpl-1")
    span.end_ns = 2_000_000_000
    assert event is not None
    run = assemble([event, span]).run
    assert (run.counts.llm_calls, run.usage.input, event.duplicate_of) == (1, 100, span.span_id)


def test_a_record_of_details_is_of_a_model_call_even_if_nothing_else_says_so() -> None:
    output = [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "call_1", "name": "ask", "arguments": {}}],
        }
    ]
    details = read(record_of(DETAILS, attributes={"gen_ai.output.messages": output}))
    assert details is not None
    assert (details.output, details.operation) == ("ask({})", "")
    model_call = call()
    assemble([model_call, details])
    assert [request.name for request in model_call.tool_requests] == ["ask"]


@pytest.mark.parametrize("left_out", ["gen_ai.response.id", "gen_ai.operation.name"])
def test_a_record_of_which_nobody_can_say_whose_it_is_is_no_event(left_out: str) -> None:
    attributes = {
        key: value for key, value in ANSWER.items() if key not in (left_out, "gen_ai.request.model")
    }
    assert read(record_of(DETAILS, attributes=attributes, **UNPLACED)) is None
    choice = {"message": {"content": "18C"}, "finish_reason": "stop"}
    assert read(record_of("gen_ai.choice", choice, ANSWER, **UNPLACED)) is None


NAMES = (
    DETAILS,
    "gen_ai.choice",
    "gen_ai.user.message",
    "gen_ai.tool.message",
    "claude_code.api_request",
    "codex.sse_event",
    "gemini_cli.api_response",
    "qwen-code.tool_call",
    "",
)
KEYS = (
    *("event.name", "session.id", "gen_ai.conversation.id", "gen_ai.response.id", "gen_ai.operation.name"),
    *("content", "message", "gen_ai.input.messages", "gen_ai.usage.input_tokens", "conversation.id"),
    *("event.kind", "duration_ms", "input_tokens", "tool_name", "success", "error", "request_id"),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(NAMES),
    body=VALUES,
    attributes=st.dictionaries(st.sampled_from(KEYS), VALUES | st.sampled_from(NAMES), max_size=8),
    placed=st.booleans(),
    scope=st.sampled_from(["", "codex_otel.log_only", "gemini-cli", "com.anthropic.claude_code.events"]),
)
def test_nothing_that_a_record_carries_makes_it_raise(
    name: str, body: Any, attributes: dict[str, Any], placed: bool, scope: str
) -> None:
    record = record_of(name, body, attributes, scope=Scope(scope), **{} if placed else UNPLACED)
    normalizer = Normalizer()
    reader = RecordReader(normalizer)
    event = reader.event(record)
    reader.content(record)
    assert not normalizer.faults
    assert reader.run_of(record) == (event.run_id if event is not None else reader.run_of(record))
    assert event == RecordReader(Normalizer()).event(record)
