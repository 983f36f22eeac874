"""Calls that proxies wrote down, taken as spans again: those that were made when they passed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.importing import Importer
from collector.intake.intake import Submission
from collector.intake.outcome import Outcome, Verdict
from collector.otlp import decode_traces
from collector.otlp.limits import Limits
from mappers.model import Span
from tests.collector.proxy.running import RunningProxy
from tests.collector.proxy.test_wire import ASKED, STREAMED, capture, lines
from tests.provider import TEXT, Provider

API_LOG: dict[str, Any] = {
    "id": "01JDEXAMPLE",
    "ts_start": "2026-06-27T12:00:00.000Z",
    "ts_end": "2026-06-27T12:00:02.500Z",
    "client": "10.0.0.5",
    "method": "POST",
    "path": "/v1/messages",
    "upstream": "https://api.anthropic.com",
    "status": 200,
    "req": {
        "headers": {"Content-Type": ["application/json"]},
        "body": {
            "model": "claude-sonnet-4-5",
            "max_tokens": 50,
            "stream": True,
            "messages": [{"role": "user", "content": "hi"}],
        },
    },
    "resp": {
        "headers": {"Content-Type": ["text/event-stream"]},
        "events": [
            {
                "event": "message_start",
                "data": {
                    "type": "message_start",
                    "message": {
                        "id": "msg_1",
                        "type": "message",
                        "role": "assistant",
                        "model": "claude-sonnet-4-5-20250929",
                        "content": [],
                        "usage": {"input_tokens": 9, "output_tokens": 1},
                    },
                },
                "t_delta_ms": 900,
            },
            {
                "event": "content_block_start",
                "data": {
                    "type": "content_block_start",
                    "index": 0,
                    "content_block": {"type": "text", "text": ""},
                },
                "t_delta_ms": 910,
            },
            {
                "event": "content_block_delta",
                "data": {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": "hello"},
                },
                "t_delta_ms": 1000,
            },
            {
                "event": "message_delta",
                "data": {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn"},
                    "usage": {"output_tokens": 7},
                },
                "t_delta_ms": 2400,
            },
            {"event": "message_stop", "data": {"type": "message_stop"}, "t_delta_ms": 2410},
        ],
        "stream_done": True,
    },
    "disconnected": False,
    "truncated_req": False,
    "truncated_resp": False,
}


def imported(documents: Sequence[Any], form: str) -> dict[str, Span]:
    """Spans of calls by their ids; the roots are left out."""
    taken: list[Span] = []

    def take(request: Submission, done: Callable[[Outcome], None]) -> None:
        taken.extend(decode_traces(request.body))
        done(Outcome(Verdict.ACCEPTED))

    importer = Importer("auto", take, Limits())
    importer.feed("\n".join(map(json.dumps, documents)).encode())
    report = importer.end()
    assert (report.form, report.rejects) == (form, [])
    assert report.accepted == len(taken)
    return {span.span_id: span for span in taken if "gen_ai.workflow.name" not in span.attributes}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "wire_capture.log"


@pytest.fixture
def proxy(file: Path, provider: Provider) -> Iterator[RunningProxy]:
    with RunningProxy(wire=capture(file), upstreams={"openai": {"url": provider.url}}) as running:
        yield running


def test_a_wire_capture_becomes_the_spans_of_its_calls(proxy: RunningProxy, file: Path) -> None:
    url = f"{proxy.url}/openai/v1/chat/completions"
    whole = httpx.post(url, json=ASKED).headers["x-loop-span-id"]
    streamed = httpx.post(url, json=STREAMED).headers["x-loop-span-id"]
    found = imported(lines(file, count=4 + 6), "wire-capture")
    assert set(found) == {whole, streamed}
    for span_id, span in found.items():
        assert span.attributes["gen_ai.request.model"] == ASKED["model"]
        assert span.attributes["gen_ai.usage.input_tokens"] > 0
        assert TEXT in json.dumps(span.attributes["gen_ai.output.messages"], ensure_ascii=False)
        assert span.end_ns >= span.start_ns
        assert imported(lines(file), "wire-capture")[span_id].trace_id == span.trace_id


def test_a_trace_of_api_log_becomes_a_call() -> None:
    (span,) = imported([API_LOG], "calls").values()
    assert span.end_ns - span.start_ns == 2_500_000_000
    assert span.attributes["gen_ai.provider.name"] == "anthropic"
    assert span.attributes["gen_ai.response.model"] == "claude-sonnet-4-5-20250929"
    assert (span.attributes["gen_ai.usage.input_tokens"], span.attributes["gen_ai.usage.output_tokens"]) == (
        9,
        7,
    )
    assert "hello" in json.dumps(span.attributes["gen_ai.output.messages"])


def test_calls_of_one_conversation_are_one_run_in_whatever_order_they_come() -> None:
    answer = {"role": "assistant", "content": [{"type": "text", "text": "hello"}]}
    second = {
        **API_LOG,
        "id": "01JDEXAMPLE2",
        "ts_start": "2026-06-27T12:01:00.000Z",
        "ts_end": "2026-06-27T12:01:02.500Z",
        "req": {
            **API_LOG["req"],
            "body": {
                **API_LOG["req"]["body"],
                "messages": [{"role": "user", "content": "hi"}, answer, {"role": "user", "content": "and?"}],
            },
        },
    }
    found = imported([second, API_LOG], "calls")
    assert len(found) == 2
    assert len({span.trace_id for span in found.values()}) == 1


@pytest.mark.parametrize(
    "document",
    [
        {**API_LOG, "ts_start": "yesterday"},
        {**API_LOG, "req": None},
        {**API_LOG, "status": "fine"},
        {"direction": "outbound_request", "payload": {}, "timestamp_unix": "never", "metadata": None},
    ],
    ids=["time", "request", "status", "record"],
)
def test_what_is_no_call_is_named_or_left_out(document: dict[str, Any]) -> None:
    importer = Importer("auto", None, Limits())
    importer.feed(json.dumps(document).encode() + b"\n" + json.dumps(API_LOG).encode())
    report = importer.end()
    assert report.accepted > 0
    assert report.rejected_lines == ("ts_start" in document)
