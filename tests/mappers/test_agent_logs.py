"""Sessions of coding agents, told by log records as the agents' documentation describes them."""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest

from mappers.assemble import assemble
from mappers.foreign import join
from mappers.model import Event, Kind, LogRecord, Run, RunStatus, Scope
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from tests.mappers.spans import span_of
from tests.mappers.test_records import record_of

SECOND = 1_000_000_000


def claude(second: float, name: str, **attributes: Any) -> LogRecord:
    """Numbers and flags as texts, as Claude Code sends many of them."""
    return record_of(
        "",
        f"claude_code.{name}",
        {"event.name": name, "session.id": "s-1", "user.id": "u-1", "prompt.id": "p-1"} | attributes,
        time_ns=int(second * SECOND),
        trace_id="",
        span_id="",
        scope=Scope("com.anthropic.claude_code.events", "2.1.0"),
    )


def codex(second: float, name: str, scope: str = "codex_otel", **attributes: Any) -> LogRecord:
    keys = {key.replace("__", "."): value for key, value in attributes.items()}
    return record_of(
        "",
        None,
        ({"event.name": f"codex.{name}"} if name else {})
        | {"conversation.id": "c-1", "model": "gpt-5"}
        | keys,
        time_ns=int(second * SECOND),
        trace_id="",
        span_id="",
        scope=Scope(scope),
    )


def gemini(second: float, name: str, prefix: str = "gemini_cli", **attributes: Any) -> LogRecord:
    return record_of(
        "",
        "text",
        {"event.name": f"{prefix}.{name}", "session.id": "g-1", "prompt_id": "p"} | attributes,
        time_ns=int(second * SECOND),
        trace_id="",
        span_id="",
    )


def events_of(*records: LogRecord) -> list[Event]:
    reader = RecordReader(Normalizer())
    return [event for event in map(reader.event, records) if event is not None]


def run_of(*records: LogRecord) -> Run:
    return assemble(events_of(*records)).run


PROMPT = claude(10, "user_prompt", prompt="Fix the test", prompt_length="12")
REQUEST = {
    "model": "claude-sonnet-4-5",
    "input_tokens": "100",
    "output_tokens": "20",
    "cache_read_tokens": "50",
    "cache_creation_tokens": "30",
    "cost_usd": "0.0123",
    "duration_ms": "1500",
}
TOOL = {"tool_name": "Bash", "success": "true", "duration_ms": "200", "tool_use_id": "toolu_1"}


def test_a_session_of_claude_code_is_a_run() -> None:
    run = run_of(
        PROMPT,
        claude(12, "api_request", **REQUEST),
        claude(12.1, "tool_decision", tool_name="Bash", decision="accept", source="config"),
        claude(13, "tool_result", **TOOL, tool_parameters='{"bash_command": "pytest"}'),
        claude(15, "api_request", **REQUEST),
    )
    assert run.run_id == sha256(b"default\0s-1").hexdigest()[:32]
    assert (run.name, run.status, run.input) == ("claude_code", RunStatus.COMPLETED, "Fix the test")
    assert (run.session_id, run.user_id, run.models) == ("s-1", "u-1", ("claude-sonnet-4-5",))
    assert (run.counts.llm_calls, run.counts.tool_calls, run.counts.spans) == (2, 1, 0)
    assert (run.usage.input, run.usage.output) == (360, 40)
    assert (run.usage.cache_read, run.usage.cache_write) == (100, 60)
    assert (run.cost_usd, run.cost_source) == (Decimal("0.0246"), "reported")
    assert (run.tools, run.start_ns, run.end_ns) == (("Bash",), 10 * SECOND, 15 * SECOND)


def test_a_record_is_made_when_its_call_ends() -> None:
    (event,) = events_of(claude(12, "api_request", **REQUEST))
    assert (event.start_ns, event.end_ns) == (int(10.5 * SECOND), 12 * SECOND)


def test_errors_and_attempts_after_them_are_told() -> None:
    error = {"model": "claude-sonnet-4-5", "error": "Overloaded", "status_code": "529", "duration_ms": "100"}
    run = run_of(
        PROMPT,
        claude(11, "api_error", **error, attempt="1"),
        claude(13, "api_request", **REQUEST),
        claude(14, "tool_result", tool_name="Edit", success="false", error="no such file"),
    )
    assert (run.counts.llm_calls, run.counts.llm_errors, run.counts.retries) == (2, 1, 1)
    assert (run.counts.tool_calls, run.counts.tool_errors) == (1, 1)
    assert run.status == RunStatus.RUNNING
    failed = run_of(PROMPT, claude(11, "api_error", **error))
    assert (failed.status, failed.error_message) == (RunStatus.FAILED, "Overloaded")


def test_what_an_answer_of_claude_code_says_is_told_by_a_record_beside_its_request() -> None:
    request = claude(12, "api_request", **REQUEST, request_id="req_1")
    answer = claude(
        12.1, "assistant_response", response="Done.", model="claude-sonnet-4-5", request_id="req_1"
    )
    for records in ([PROMPT, request, answer], [answer, PROMPT, request]):
        events = events_of(*records)
        run = assemble(events).run
        assert (run.counts.llm_calls, run.usage.input, run.usage.output) == (1, 180, 20)
        (call,) = (event for event in events if event.kind == Kind.LLM)
        assert (call.output, call.response_id) == ("Done.", "req_1")
    # Whose answer it is is not known.
    assert events_of(claude(12.1, "assistant_response", response="Done.", model="claude-sonnet-4-5")) == []


def test_a_session_of_codex_counts_each_stream_once() -> None:
    done = {"event__kind": "response.completed", "input_token_count": "100", "cached_token_count": "40"}
    done |= {"output_token_count": "10", "reasoning_token_count": "5", "event__timestamp": "t-2"}
    run = run_of(
        codex(1, "conversation_starts", provider_name="openai"),
        codex(2, "user_prompt", prompt="Hello", event__timestamp="t-0"),
        codex(3, "api_request", attempt=0, duration_ms="300", **{"http.response.status_code": 200}),
        codex(3, "sse_event", event__kind="response.output_text.delta"),
        codex(4, "sse_event", **done),
        codex(
            5, "tool_result", tool_name="shell", call_id="call_1", success="true", arguments='{"cmd": "ls"}'
        ),
        codex(6, "api_request", error__message="overloaded", event__timestamp="t-3"),
    )
    assert (run.name, run.counts.llm_calls, run.counts.llm_errors) == ("codex", 2, 1)
    assert (run.counts.tool_calls, run.tools, run.session_id) == (1, ("shell",), "c-1")
    assert (run.usage.input, run.usage.output) == (100, 10)
    assert (run.usage.cache_read, run.usage.reasoning) == (40, 5)


def test_what_codex_tells_twice_is_put_together() -> None:
    only = "codex_otel.log_only"
    records = [
        codex(4, "websocket_event", event__kind="response.completed", event__timestamp="t-1"),
        codex(
            4,
            "",
            only,
            event__kind="response.completed",
            event__timestamp="t-1",
            input_token_count=100,
            output_token_count=10,
        ),
        codex(5, "tool_result", tool_name="shell", call_id="call_1", success="true"),
        codex(5, "", only, tool_name="shell", call_id="call_1", arguments='{"cmd": "ls"}', output="a b"),
    ]
    for order in (records, records[::-1]):
        events = events_of(*order)
        run = assemble(events).run
        assert (run.counts.llm_calls, run.counts.tool_calls) == (1, 1)
        assert (run.usage.input, run.usage.output) == (100, 10)
        (tool,) = (event for event in events if event.kind == Kind.TOOL and not event.duplicate_of)
        assert (tool.input, tool.output, bool(tool.args_hash)) == ('{"cmd":"ls"}', "a b", True)


@pytest.mark.parametrize("prefix", ["gemini_cli", "qwen-code"])
def test_a_session_of_gemini_cli_is_a_run(prefix: str) -> None:
    run = run_of(
        gemini(1, "user_prompt", prefix, prompt="Hi"),
        gemini(2, "api_request", prefix, model="gemini-2.5-pro"),
        gemini(
            4,
            "api_response",
            prefix,
            model="gemini-2.5-pro",
            status_code=200,
            duration_ms=1200,
            input_token_count=100,
            output_token_count=20,
            cached_content_token_count=40,
            thoughts_token_count=8,
            total_token_count=128,
        ),
        gemini(5, "tool_call", prefix, function_name="read_file", function_args='{"p": 1}', success=True),
        gemini(6, "tool_call", prefix, function_name="shell", success=False, error="denied"),
        gemini(7, "api_error", prefix, model="gemini-2.5-pro", error="quota", status_code=429),
        gemini(8, "conversation_finished", prefix, turnCount=1),
    )
    name = prefix.replace("-", "_")
    assert (run.name, run.agents, run.status) == (name, (name,), RunStatus.COMPLETED)
    assert (run.counts.llm_calls, run.counts.llm_errors) == (2, 1)
    assert (run.counts.tool_calls, run.counts.tool_errors) == (2, 1)
    assert (run.usage.input, run.usage.output, run.usage.reasoning) == (100, 28, 8)


def test_records_without_a_session_are_no_events() -> None:
    record = claude(1, "api_request", **REQUEST)
    del record.attributes["session.id"]  # type: ignore[attr-defined]  # it is a dict here
    assert events_of(record) == []


def test_what_spans_tell_too_counts_once() -> None:
    normalizer = Normalizer()
    scope = Scope("com.anthropic.claude_code.tracing")
    common = {"session.id": "s-1"}
    spans = [
        span_of(
            common | {"span.type": "llm_request", "request_id": "req_1"} | REQUEST,
            name="claude_code.llm_request",
            span_id="0" * 15 + "2",
            parent_span_id="0" * 15 + "1",
            start_ns=int(10.5 * SECOND),
            end_ns=12 * SECOND,
            scope=scope,
        ),
        span_of(
            common | {"span.type": "tool"} | TOOL,
            name="claude_code.tool",
            span_id="0" * 15 + "3",
            parent_span_id="0" * 15 + "1",
            start_ns=int(12.7 * SECOND),
            end_ns=13 * SECOND,
            scope=scope,
        ),
    ]
    told = [normalizer.normalize(span) for span in spans]
    records = events_of(
        PROMPT,
        claude(12.05, "api_request", **REQUEST, request_id="req_1"),
        claude(13.05, "tool_result", **TOOL),
    )
    foreign = join([*told, *records[1:]])
    runs = [
        assemble(
            events, {span: known for (run, span), known in foreign.items() if run == events[0].run_id}
        ).run
        for events in (told, records)
    ]
    assert [(run.counts.llm_calls, run.counts.tool_calls) for run in runs] == [(1, 1), (0, 0)]
    assert runs[1].duplicate_of == runs[0].run_id
    assert runs[0].usage.total == 200
