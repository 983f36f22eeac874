"""What passes through the proxy is recorded: spans of the GenAI conventions, and the runs that they make."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from collector.config import ProxyCapture
from collector.otlp import decode_traces
from collector.proxy.capture import Capture, Policy
from collector.proxy.context import Context
from collector.proxy.exchange import Exchange, read_exchange
from collector.proxy.sessions import Resolver
from collector.proxy.spans import spans_of
from collector.proxy.tape import Tape
from collector.proxy.tries import Tries
from mappers.cost import Prices
from mappers.model import Scope, Span
from mappers.normalize import Normalizer
from tests.collector.proxy import sdks
from tests.collector.proxy.collected import Collected, attributes, said
from tests.collector.proxy.running import RunningProxy
from tests.collector.proxy.tapes import tape
from tests.provider import (
    CUT,
    HANG_UP,
    TEXT,
    Answer,
    Provider,
    call,
    chat,
    chat_stream,
    event,
    messages_stream,
    response,
)
from tests.waiting import PATIENCE_S

HELLO = [{"role": "user", "content": "hello"}]
KEY = {"authorization": "Bearer sk-proj-canary-0123456789"}


@pytest.fixture
def collected(proxy: RunningProxy) -> Iterator[Collected]:
    proxy.collected.clear()
    yield proxy.collected
    proxy.collected.refuse = False


def post(proxy: RunningProxy, path: str, body: Any, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(proxy.url + path, json=body, headers=KEY | given)


CALLS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "/openai/v1/chat/completions",
        {
            "model": "gpt-4o-mini",
            "messages": HELLO,
            "temperature": 0.5,
            "max_completion_tokens": 9,
            "stop": "x",
        },
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.max_tokens": 9,
            "gen_ai.request.stop_sequences": ["x"],
            "gen_ai.usage.input_tokens": 19,
            "gen_ai.usage.output_tokens": 10,
            "gen_ai.usage.cache_read.input_tokens": 4,
            "gen_ai.usage.reasoning.output_tokens": 3,
            "openai.response.system_fingerprint": "fp_1",
            "openai.api.type": "chat_completions",
            "eddyline.proxy.outcome": "complete",
        },
    ),
    (
        "/openai/v1/chat/completions",
        {
            "model": "gpt-4o-mini",
            "messages": HELLO,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        {
            "gen_ai.request.stream": True,
            "gen_ai.usage.output_tokens": 10,
            "eddyline.proxy.events": len(list(chat_stream({}))) + 1,
        },
    ),
    ("/openai/v1/responses", {"model": "gpt-4o-mini", "input": "hello"}, {"gen_ai.usage.input_tokens": 21}),
    (
        "/openai/v1/responses",
        {"model": "gpt-4o-mini", "input": "hello", "stream": True},
        {"gen_ai.usage.output_tokens": 12, "gen_ai.response.id": "resp_1", "openai.api.type": "responses"},
    ),
    (
        "/anthropic/v1/messages",
        {"model": "claude-sonnet-4-6", "messages": HELLO, "max_tokens": 5},
        {
            "gen_ai.provider.name": "anthropic",
            "gen_ai.usage.input_tokens": 21,
            "gen_ai.usage.cache_write.input_tokens": 5,
            "anthropic.message.stop_reason": "end_turn",
        },
    ),
    (
        "/anthropic/v1/messages",
        {"model": "claude-sonnet-4-6", "messages": HELLO, "max_tokens": 5, "stream": True},
        {"gen_ai.usage.output_tokens": 11, "gen_ai.response.finish_reasons": ["stop"]},
    ),
    (
        "/gemini/v1beta/models/gemini-2.5-flash:generateContent?key=AIzaCanary",
        {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": "gcp.gemini",
            "gen_ai.usage.output_tokens": 70,
        },
    ),
    (
        "/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        {"gen_ai.request.model": "gemini-2.5-flash", "gen_ai.usage.input_tokens": 8},
    ),
    (
        "/ollama/api/chat",
        {"model": "llama3.2", "messages": HELLO},
        {"gen_ai.provider.name": "ollama", "gen_ai.usage.input_tokens": 26},
    ),
    (
        "/openai/v1/completions",
        {"model": "davinci", "prompt": "hello"},
        {"gen_ai.operation.name": "text_completion"},
    ),
]


@pytest.mark.parametrize(
    ("path", "body", "expected"), CALLS, ids=[f"{path} {body.get('stream', '')}" for path, body, _ in CALLS]
)
def test_a_call_is_a_span_of_the_conventions(
    proxy: RunningProxy,
    provider: Provider,
    collected: Collected,
    path: str,
    body: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    assert post(proxy, path, body, x_loop_project="shop").status_code == 200
    collected.wait(2)
    (run,) = collected.runs().values()
    (span,) = [span for span in collected.spans.values() if span.kind == 3]
    found = attributes(span)
    assert {name: found.get(name) for name in expected} == expected
    assert "".join(part["content"] for part in said(span)[0]["parts"]) == TEXT
    assert said(span, "gen_ai.input.messages") == [
        {"role": "user", "parts": [{"type": "text", "content": "hello"}]}
    ]
    assert found["server.port"] == provider.port
    assert span.name == f"{found['gen_ai.operation.name']} {found['gen_ai.request.model']}"
    assert span.end_ns > span.start_ns
    assert span.source == "proxy"
    assert collected.requests[0][0] == "shop"
    assert (run.run.status, run.run.counts.llm_calls, run.run.name) == ("completed", 1, "session")
    assert run.run.usage.input == found["gen_ai.usage.input_tokens"]


def test_embeddings_are_counted_and_their_vectors_are_not_kept(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    post(proxy, "/openai/v1/embeddings", {"model": "e", "input": ["a", "b"], "encoding_format": "base64"})
    (span,) = collected.wait(1, "embeddings")
    assert attributes(span)["gen_ai.embeddings.dimension.count"] == 3
    assert "AAAAAAAAgD8" not in str(attributes(span))
    (run,) = collected.runs().values()
    assert (run.run.counts.embeddings, run.run.usage.embedding, run.run.usage.input) == (1, 6, None)


def test_what_is_not_known_is_a_plain_span_and_what_only_manages_is_none(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    httpx.get(f"{proxy.url}/openai/v1/models")
    post(proxy, "/openai/v1/files", {})
    post(proxy, "/anthropic/v1/messages/batches", {})
    post(proxy, "/openai/v1/moderations", {"input": "x"})
    collected.wait(2)
    assert sorted(span.name for span in collected.spans.values()) == ["POST /v1/moderations", "session"]
    (run,) = collected.runs().values()
    assert run.run.counts.llm_calls == 0


def test_counting_tokens_is_no_call(proxy: RunningProxy, provider: Provider, collected: Collected) -> None:
    post(proxy, "/anthropic/v1/messages/count_tokens", {"model": "claude", "messages": HELLO})
    (span,) = collected.wait(1, "count_tokens")
    assert attributes(span)["anthropic.message.count_tokens.input_tokens"] == 14
    (run,) = collected.runs().values()
    assert (run.run.counts.llm_calls, run.run.usage.input) == (0, None)


# --------------------------------------------------------------------------- errors


def test_an_error_of_the_provider_is_the_calls(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    error = {"error": {"type": "rate_limit_error", "message": "slow down"}}
    provider.script.append(Answer.json(error, 429, retry_after="1", x_ratelimit_limit_requests="10"))
    post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO})
    (span,) = collected.wait(1, "chat")
    found = attributes(span)
    assert (span.status_code, span.status_message) == (2, "slow down")
    assert (found["error.type"], found["http.response.status_code"]) == ("rate_limit_error", 429)
    assert found["eddyline.x_ratelimit_limit_requests"] == "10"
    (run,) = collected.runs().values()
    assert (run.run.status, run.run.counts.llm_errors, run.run.usage.input) == ("failed", 1, None)


def test_tries_of_one_call_are_one_run_that_ended_well(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    provider.script.append(Answer.json({"error": {"type": "overloaded_error", "message": "x"}}, 529))
    body = {"model": "claude", "messages": [{"role": "user", "content": "try twice"}], "max_tokens": 1}
    post(proxy, "/anthropic/v1/messages", body)
    post(proxy, "/anthropic/v1/messages", body, x_stainless_retry_count="1")
    collected.wait(2, "chat")
    (run,) = collected.runs().values()
    assert run.run.status == "completed"
    assert (run.run.counts.llm_calls, run.run.counts.llm_errors, run.run.counts.retries) == (2, 1, 1)


BUSY = Answer.json({"error": {"type": "rate_limit_error", "message": "x"}}, 429)
TRIES: dict[str, tuple[list[Answer], list[dict[str, Any]], list[int]]] = {
    "twice busy": ([BUSY, BUSY], [{}, {}, {}], [0, 1, 2]),
    "a connection that broke": ([HANG_UP], [{}, {}], [0, 1]),
    "again after an answer": ([BUSY], [{}, {}, {}], [0, 1, 0]),
    "refused for good": ([Answer.json({"error": {"type": "t"}}, 400)], [{}, {}], [0, 0]),
    "something else": ([BUSY], [{}, {"temperature": 1}], [0, 0]),
    "with another key": ([BUSY], [{}, {"key": "two"}], [0, 0]),
    "counted by the client": ([BUSY], [{}, {"x-stainless-retry-count": "3"}], [0, 3]),
}


@pytest.mark.parametrize("name", TRIES)
def test_tries_are_told_without_a_word_of_the_client(
    proxy: RunningProxy, provider: Provider, collected: Collected, name: str
) -> None:
    answers, requests, tries = TRIES[name]
    provider.script += answers
    for number, more in enumerate(requests, 1):
        body = {"model": "m", "messages": [{"role": "user", "content": name}]}
        body |= {key: value for key, value in more.items() if key == "temperature"}
        headers = {"authorization": f"Bearer {more.get('key', 'one')}"}
        headers |= {key: value for key, value in more.items() if key.startswith("x-")}
        httpx.post(f"{proxy.url}/openai/v1/chat/completions", json=body, headers=headers)
        spans = collected.wait(number, "chat")  # in the order in which they end
    assert [attributes(span).get("http.request.resend_count", 0) for span in spans] == tries


def test_what_is_asked_twice_at_once_is_no_try_again() -> None:
    tries = Tries()
    failed, other, again, once_more, late = (
        read_exchange(
            tape(
                "/v1/chat/completions", {"model": "m"}, [b"{}"], status=status, started_ns=at, span_id=span_id
            )
        )
        for status, at, span_id in (
            (503, 0, "a" * 16),
            (200, 1_000_000, "b" * 16),
            (503, 10**9, "c" * 16),
            (200, 2 * 10**9, "d" * 16),
            (200, 3 * 10**9, "e" * 16),
        )
    )
    for exchange in (failed, other, again, once_more, late):
        tries.note(exchange)
    assert [one.tries for one in (failed, other, again, once_more, late)] == [0, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("after_s", "headers", "tries"),
    [(29, {}, 1), (40, {}, 0), (40, {"retry-after": "20"}, 1), (60, {"retry-after": "Thu"}, 0)],
)
def test_a_try_follows_soon_or_when_the_provider_asked_for_it(
    after_s: int, headers: dict[str, str], tries: int
) -> None:
    known = Tries()
    asked = {"model": "m"}
    known.note(
        read_exchange(
            tape("/v1/responses", asked, [b"{}"], status=429, started_ns=0, response_headers=headers)
        )
    )
    later = read_exchange(tape("/v1/responses", asked, [b"{}"], started_ns=after_s * 10**9))
    known.note(later)
    assert later.tries == tries


def test_a_call_that_instrumentation_tells_once_has_the_tries_that_the_proxy_saw(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    """Neither a traceparent nor a count of tries came along: the answer's id joins it with the last of them."""
    provider.script += [BUSY, Answer.json(chat({}, id_="chatcmpl-twice"))]
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "tell me once"}]}
    for _ in range(2):
        post(proxy, "/openai/v1/chat/completions", body)
    collected.wait(2, "chat")
    last = collected.named("chat")[-1]
    named = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.id": "chatcmpl-twice",
    }
    told = Span(
        last.trace_id, "b" * 16, "", "chat gpt-4o-mini", 3, last.start_ns - 10**6, last.end_ns + 10**6, named, 0, "",
        [], [], last.resource, Scope("opentelemetry.instrumentation.openai_v2", "2.0"),
    )  # fmt: skip
    collected.spans = {told.span_id: told, last.span_id: last}
    (run,) = collected.runs().values()
    assert (run.run.counts.llm_calls, run.run.counts.retries) == (1, 1)


def test_a_stream_that_breaks_keeps_what_came(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    provider.script.append(Answer.sse([*list(messages_stream({}))[:8], 0.05, CUT]))
    with pytest.raises(httpx.RemoteProtocolError):
        post(proxy, "/anthropic/v1/messages", {"model": "claude", "messages": HELLO, "stream": True})
    (span,) = collected.wait(1, "chat")
    found = attributes(span)
    assert (found["eddyline.proxy.outcome"], found["error.type"]) == ("upstream_abort", "upstream_reset")
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.response.finish_reasons"]) == (21, ["error"])
    assert span.status_code == 2


def test_a_client_that_leaves_is_no_error(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    provider.script.append(Answer.sse([piece for one in chat_stream({}) for piece in (one, 0.02)]))
    body = {"model": "m", "messages": HELLO, "stream": True}
    with httpx.stream("POST", f"{proxy.url}/openai/v1/chat/completions", json=body) as answer:
        next(answer.iter_raw())
    (span,) = collected.wait(1, "chat")
    found = attributes(span)
    assert (found["eddyline.proxy.outcome"], found["error.type"]) == ("client_abort", "client_disconnect")
    assert span.status_code == 0


def test_no_provider_is_an_error_with_a_span(provider: Provider) -> None:
    with RunningProxy(upstreams={"openai": {"url": "http://127.0.0.1:9"}}) as proxy:
        post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO})
        (span,) = proxy.collected.wait(1, "chat")
    assert (attributes(span)["error.type"], span.status_code) == ("connect", 2)


# --------------------------------------------------------------------------- runs


def chat_turn(
    proxy: RunningProxy, provider: Provider, history: list[Any], answer: dict[str, Any], **headers: str
) -> None:
    provider.script.append(Answer.json(answer))
    post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": history}, **headers)
    history.append(answer["choices"][0]["message"])


def test_a_tool_loop_is_one_run_with_its_tool_calls(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    history: list[Any] = [{"role": "user", "content": "weather in Paris and Rome?"}]
    calls = [
        call("call_a", "get_weather", '{"city":"Paris"}'),
        call("call_b", "get_weather", '{"city":"Rome"}'),
    ]
    chat_turn(proxy, provider, history, chat({}, calls=calls, id_="c1"))
    history += [{"role": "tool", "tool_call_id": name, "content": "sunny"} for name in ("call_a", "call_b")]
    chat_turn(
        proxy, provider, history, chat({}, calls=[call("call_c", "transfer_to_billing", "{}")], id_="c2")
    )
    history.append({"role": "tool", "tool_call_id": "call_c", "content": "ok"})
    chat_turn(proxy, provider, history, chat({}, "both sunny", id_="c3"))
    collected.wait(3, "chat")
    (run,) = collected.runs().values()
    counts = run.run.counts
    assert (counts.llm_calls, counts.tool_calls, counts.handoffs, run.run.tools) == (
        3,
        2,
        1,
        ("get_weather",),
    )
    tools = collected.named("execute_tool get_weather")
    first, second, _ = collected.named("chat")
    assert [attributes(tool)["gen_ai.tool.call.arguments"] for tool in tools] == [
        '{"city":"Paris"}',
        '{"city":"Rome"}',
    ]
    assert {attributes(tool)["gen_ai.tool.call.result"] for tool in tools} == {"sunny"}
    assert {tool.parent_span_id for tool in tools} == {first.span_id}
    assert all(
        first.start_ns < tool.start_ns <= first.end_ns and tool.end_ns == second.start_ns for tool in tools
    )
    assert {attributes(tool)["eddyline.tool.timing"] for tool in tools} == {"inferred_upper_bound"}


def test_a_loop_is_seen_in_traffic_alone(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    history: list[Any] = [{"role": "user", "content": "go round"}]
    for number in range(4):
        chat_turn(
            proxy,
            provider,
            history,
            chat({}, calls=[call(f"l{number}", "poll", '{"id":7}')], id_=f"r{number}"),
        )
        history.append({"role": "tool", "tool_call_id": f"l{number}", "content": "pending"})
    chat_turn(proxy, provider, history, chat({}, "gave up", id_="r9"))
    collected.wait(4, "execute_tool poll")
    (run,) = collected.runs().values()
    from mappers.normalize import Normalizer

    events = [Normalizer().normalize(span) for span in collected.named("execute_tool")]
    assert len({event.args_hash for event in events}) == len({event.result_hash for event in events}) == 1
    assert run.run.counts.tool_calls == 4


def test_results_in_anthropics_and_geminis_words(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    use = {"type": "tool_use", "id": "toolu_9", "name": "read", "input": {"path": "a"}}
    provider.script.append(Answer.sse(list(messages_stream({}, [use]))))
    asked: dict[str, Any] = {
        "model": "claude",
        "messages": [{"role": "user", "content": "read a"}],
        "max_tokens": 9,
    }
    post(proxy, "/anthropic/v1/messages", asked | {"stream": True})
    result = {"type": "tool_result", "tool_use_id": "toolu_9", "content": "no such file", "is_error": True}
    asked["messages"] += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    post(proxy, "/anthropic/v1/messages", asked)
    made = {"functionCall": {"name": "look", "args": {"x": 1}}}
    document = {
        "candidates": [{"content": {"role": "model", "parts": [made]}, "finishReason": "STOP"}],
        "responseId": "g",
    }
    provider.script.append(Answer.json(document))
    contents: list[Any] = [{"role": "user", "parts": [{"text": "look around"}]}]
    path = "/gemini/v1beta/models/g:generateContent"
    post(proxy, path, {"contents": contents}, x_loop_session="gem")
    found = {"functionResponse": {"name": "look", "response": {"seen": True}}}
    contents += [{"role": "model", "parts": [made]}, {"role": "user", "parts": [found]}]
    post(proxy, path, {"contents": contents}, x_loop_session="gem")
    (read,) = collected.wait(1, "execute_tool read")
    (look,) = collected.wait(1, "execute_tool look")
    assert (read.status_code, attributes(read)["error.type"]) == (2, "tool_error")
    assert json.loads(attributes(look)["gen_ai.tool.call.result"]) == {"seen": True}
    assert [run.run.counts.tool_calls for run in collected.runs().values()] == [1, 1]


def test_results_are_told_once(proxy: RunningProxy, provider: Provider, collected: Collected) -> None:
    history: list[Any] = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": None, "tool_calls": [call("old_1", "early", "{}")]},
        {"role": "tool", "tool_call_id": "old_1", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call("old_2", "late", "{}")]},
        {"role": "tool", "tool_call_id": "old_2", "content": "y"},
    ]
    chat_turn(proxy, provider, history, chat({}, "resumed long enough to be known again later on", id_="o1"))
    history.append({"role": "user", "content": "more"})
    chat_turn(proxy, provider, history, chat({}, "end", id_="o2"))
    collected.wait(2, "chat")
    assert [span.name for span in collected.named("execute_tool")] == ["execute_tool late"]


def test_headers_place_calls_in_a_run(proxy: RunningProxy, provider: Provider, collected: Collected) -> None:
    first = post(
        proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO}, x_loop_traceid="order 7",
        x_loop_custom_label="team=a,urgent", x_loop_user="u", x_loop_run_name="checkout", x_loop_project="shop",
    )  # fmt: skip
    trace_id, span_id = first.headers["x-loop-trace-id"], first.headers["x-loop-span-id"]
    post(
        proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO}, x_loop_traceid="order 7",
        x_loop_parentid=span_id, x_loop_project="shop",
    )  # fmt: skip
    one, two = collected.wait(2, "chat")
    (run,) = collected.runs().values()
    assert (one.trace_id, one.span_id, two.parent_span_id) == (trace_id, span_id, span_id)
    found = attributes(one)
    assert (found["eddyline.label.team"], found["tags"], found["user.id"]) == ("a", ["urgent"], "u")
    assert found["eddyline.trace.external_id"] == "order 7"
    assert (run.run.name, run.run.status, run.run.user_id, run.run.project) == (
        "checkout",
        "completed",
        "u",
        "shop",
    )


def test_a_parent_that_never_comes_hides_nothing(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    headers = {"x_loop_traceid": "t9", "x_loop_parentid": "my step"}
    post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO}, **headers)
    collected.wait(2)
    (run,) = collected.runs().values()
    assert (run.run.status, run.run.counts.llm_calls) == ("completed", 1)


def test_an_instrumented_call_and_ours_are_one(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    """The span that sent `traceparent` is the same call: it counts, ours fills in what it lacks."""
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    post(
        proxy,
        "/anthropic/v1/messages",
        {"model": "claude", "messages": HELLO, "max_tokens": 1},
        traceparent=f"00-{trace_id}-{span_id}-01",
    )
    (ours,) = collected.wait(1)
    theirs = Span(
        trace_id, span_id, "", "anthropic.messages.create", 3, ours.start_ns - 1000, ours.end_ns + 1000,
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude"}, 0, "", [], [], ours.resource, ours.scope,
    )  # fmt: skip
    collected.spans[span_id] = theirs
    (run,) = collected.runs().values()
    assert (run.run.counts.llm_calls, run.run.usage.input, run.run.usage.output) == (1, 21, 11)
    assert run.run.name == "anthropic.messages.create"


def test_an_agent_that_is_instrumented_and_proxied_is_one_run_with_true_counts(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    trace_id, agent_id = "0af7651916cd43dd8448eb211c80319d", "b7ad6b7169203330"
    history: list[Any] = [{"role": "user", "content": "instrumented weather"}]
    begun = time.time_ns()
    theirs: list[tuple[str, str, dict[str, Any], int, int]] = []
    for number in (1, 2):
        span_id = f"{number:016x}"
        start = time.time_ns()
        calls = [call("call_i", "get_weather", "{}")] if number == 1 else None
        parent = f"00-{trace_id}-{span_id}-01"
        chat_turn(proxy, provider, history, chat({}, calls=calls, id_=f"i{number}"), traceparent=parent)
        named = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.response.id": f"i{number}",
        }
        theirs.append((span_id, "chat m", named, start, time.time_ns()))
        if number == 1:
            start = time.time_ns()
            named = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}
            theirs.append(("c" * 16, "execute_tool get_weather", named, start, time.time_ns()))
            history.append({"role": "tool", "tool_call_id": "call_i", "content": "sun"})
    (ours, *_) = collected.wait(3)
    theirs.append((agent_id, "agent", {"gen_ai.operation.name": "invoke_agent"}, begun, time.time_ns()))
    for span_id, name, named, start, end in theirs:
        collected.spans[span_id] = Span(
            trace_id, span_id, "" if span_id == agent_id else agent_id, name, 1, start, end, named, 0, "", [], [],
            ours.resource, Scope("app"),
        )  # fmt: skip
    (run,) = collected.runs().values()
    counts = run.run.counts
    assert (counts.llm_calls, counts.tool_calls, run.run.usage.input, run.run.usage.output) == (2, 1, 38, 20)
    assert (run.run.name, run.run.status, run.run.session_id) == ("agent", "completed", "")


# --------------------------------------------------------------------------- what is kept


def everything(collected: Collected) -> str:
    return str(collected.requests) + "".join(str(attributes(span)) for span in collected.spans.values())


@pytest.mark.parametrize(
    ("settings", "header", "kept"),
    [
        ({}, "full", {"input", "output"}),
        ({}, "meta", set()),
        ({"content": "meta"}, "full", set()),
        ({"projects": {"p": "meta"}}, "full", set()),
        ({"projects": {"q": "meta"}}, "full", {"input", "output"}),
        ({"input": False}, "full", {"output"}),
        ({"output": False}, "full", {"input"}),
    ],
)
def test_content_is_kept_as_configured_and_as_asked(
    provider: Provider, settings: dict[str, Any], header: str, kept: set[str]
) -> None:
    with RunningProxy(upstreams={"openai": {"url": provider.url}}, capture=settings) as proxy:
        asked = [{"role": "user", "content": "prompt-canary"}]
        provider.script.append(Answer.json(chat({}, "answer-canary", id_="x")))
        post(
            proxy,
            "/openai/v1/chat/completions",
            {"model": "m", "messages": asked},
            x_loop_project="p",
            x_loop_capture=header,
        )
        proxy.collected.wait(2)
        text = everything(proxy.collected)
        (span,) = proxy.collected.named("chat")
    assert {
        name for name, canary in (("input", "prompt-canary"), ("output", "answer-canary")) if canary in text
    } == kept
    assert attributes(span)["gen_ai.usage.input_tokens"] == 19


def test_calls_can_be_left_out_but_still_pass(provider: Provider) -> None:
    with RunningProxy(
        upstreams={"openai": {"url": provider.url}}, capture={"projects": {"secret": "off"}}
    ) as proxy:
        for headers in ({"x_loop_project": "secret"}, {"x_loop_capture": "off"}):
            answer = post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO}, **headers)
            assert answer.status_code == 200
            assert "x-loop-span-id" not in answer.headers
        time.sleep(0.05)
        assert proxy.collected.spans == {}


def test_tokens_and_costs_can_be_left_out(provider: Provider) -> None:
    with RunningProxy(
        upstreams={"openai": {"url": provider.url}}, capture={"tokens": False, "cost": False}
    ) as proxy:
        document = chat({})
        document["usage"] = {**document["usage"], "cost": 0.25, "num_search_queries": 1}
        provider.script.append(Answer.json(document))
        post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO})
        (span,) = proxy.collected.wait(1, "chat")
    counted = [name for name in attributes(span) if ".usage." in name]
    assert counted == ["eddyline.usage.source"]


def test_what_a_provider_says_it_cost_is_kept(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    document = chat({})
    document["usage"] = {**document["usage"], "cost": 0.25}
    provider.script.append(Answer.json(document))
    post(proxy, "/openrouter/api/v1/chat/completions", {"model": "openai/gpt-4o", "messages": HELLO})
    collected.wait(1, "chat")
    (run,) = collected.runs().values()
    assert float(run.run.cost_usd or 0) == 0.25


def test_lm_studio_s_own_api_is_served_to_openai_s_sdk(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    provider.script.append(Answer.json(chat({}) | {"stats": {"time_to_first_token": 0.25}}))
    base = f"{proxy.url}/openai/http/127.0.0.1:{provider.port}/api/v0"
    client = sdks.openai.OpenAI(base_url=base, api_key="lm-studio")
    assert client.chat.completions.create(model="granite", messages=HELLO).choices[0].message.content == TEXT
    event = Normalizer().normalize(*collected.wait(1, "chat"))
    assert (event.provider, event.ttft_ms, event.input_tokens, event.cost_usd) == ("local", 250, 19, None)


def test_searches_that_a_stream_tells_at_its_end_are_part_of_the_run_s_cost(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    *pieces, _, end = messages_stream({})
    usage = {"output_tokens": 11, "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
    provider.script.append(Answer.sse([*pieces, event(last, "message_delta"), end]))
    asked = {"model": "claude-sonnet-4-6", "messages": HELLO, "max_tokens": 5, "stream": True}
    post(proxy, "/anthropic/v1/messages", asked)
    (span,) = collected.wait(1, "chat")
    assert attributes(span)["eddyline.usage.web_searches"] == 2
    (run,) = collected.runs().values()
    # 9 fresh, 7 from the cache and 5 into it, 11 written, at 3, 0.3, 3.75 and 15 dollars a million
    tokens = (9 * 3 + 7 * 0.3 + 5 * 3.75 + 11 * 15) / 1e6
    assert float(run.run.cost_usd or 0) == pytest.approx(tokens + 0.02, abs=1e-9)


def test_a_stream_without_usage_is_estimated_apart_from_the_counts(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO, "stream": True})
    (span,) = collected.wait(1, "chat")
    found = attributes(span)
    assert (found["eddyline.usage.source"], found["eddyline.usage.estimated.output_tokens"]) == (
        "estimated",
        8,
    )
    (run,) = collected.runs().values()
    assert run.run.usage.output is None


def test_no_key_is_kept_anywhere(proxy: RunningProxy, provider: Provider, collected: Collected) -> None:
    canary = "canary-key-77777"
    path = f"/gemini/v1beta/models/g:generateContent?key={canary}&access_token={canary}"
    httpx.post(
        proxy.url + path,
        json={"contents": [{"parts": [{"text": "x"}]}]},
        headers={
            "authorization": f"Bearer {canary}",
            "x-goog-api-key": canary,
            "cookie": f"s={canary}",
            "x-odd-secret": canary,
        },
    )
    provider.script.append(Answer.json({"ok": 1}, x_secret=canary, set_cookie=f"a={canary}"))
    httpx.post(f"{proxy.url}/openai/v1/chat/completions", json={}, headers={"api-key": canary})
    collected.wait(2)
    collected.wait(1, "chat")
    assert canary not in everything(collected)
    assert all(canary.encode() not in body for _, body in collected.requests)


def test_a_key_has_one_name_however_it_is_sent(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    body = {"model": "m", "messages": HELLO}
    for headers in (
        {"authorization": "Bearer one"},
        {"x-api-key": "one"},
        {"api-key": "one"},
        {"api-key": "two"},
    ):
        httpx.post(f"{proxy.url}/openai/v1/chat/completions", json=body, headers=headers)
    httpx.post(f"{proxy.url}/openai/v1/chat/completions?key=one&x=2", json=body)
    names = [attributes(span)["eddyline.key_hash"] for span in collected.wait(5, "chat")]
    assert names[0] == names[1] == names[2] == names[4] != names[3]


def test_tokens_that_are_signed_anew_have_the_name_of_whom_they_are_for() -> None:
    def token(**claims: Any) -> dict[bytes, str]:
        parts = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "RS256"}, claims)
        ]
        return {b"authorization": f"Bearer {'.'.join(parts)}.c2ln"}

    policy = Policy(True, True, True, True, b"salt")
    one = policy.key_hash(token(iss="https://sts.windows.net/t/", sub="me", exp=1))
    assert policy.key_hash(token(iss="https://sts.windows.net/t/", sub="me", exp=2)) == one
    assert policy.key_hash(token(iss="https://sts.windows.net/t/", sub="you", exp=2)) != one
    assert policy.key_hash(token(iss="https://other/", sub="me", exp=2)) != one
    assert len({policy.key_hash(token(exp=number)) for number in range(2)}) == 2
    assert policy.key_hash({b"authorization": "Bearer eyJ.not-base64!.x"})


@pytest.mark.parametrize(
    ("agent", "client"),
    [
        ("OpenAI/Python 3.57.0", ("OpenAI/Python", "3.57.0")),
        ("AsyncAnthropic/Python 2.14.0", ("Anthropic/Python", "2.14.0")),
        ("OpenAI/JS 6.49.0", ("OpenAI/JS", "6.49.0")),
        ("claude-cli/2.1.86 (external, cli)", ("claude-cli", "2.1.86")),
        ("codex_cli_rs/0.50.0 (Debian 12; x86_64) xterm", ("codex_cli_rs", "0.50.0")),
        ("google-genai-sdk/3.4.0 gl-python/3.11.7", ("google-genai-sdk", "3.4.0")),
        ("python-httpx/0.28.1", ("python-httpx", "0.28.1")),
        ("my agent", (None, None)),
    ],
)
def test_a_client_is_known_by_its_user_agent(agent: str, client: tuple[str | None, str | None]) -> None:
    exchange = read_exchange(tape("/v1/responses", {"model": "m"}, [b"{}"], headers={"user-agent": agent}))
    collected = Collected()
    policy = Policy(True, True, True, True, b"salt")
    collected.take(("", ""), spans_of(exchange, Resolver().resolve(exchange), policy, "0"), lambda *_: None)
    found = attributes(collected.named("chat")[0])
    assert (found.get("eddyline.client.kind"), found.get("eddyline.client.version")) == client


def test_keys_have_the_names_that_they_were_given() -> None:
    capture = Capture(ProxyCapture(named_keys={"prod": "sk-one", "none": ""}), b"salt")
    policy = capture.policy(Context())
    assert policy.key_name({b"authorization": "Bearer sk-one"}) == policy.key_name({}, "sk-one") == "prod"
    assert policy.key_name({b"x-api-key": "sk-two"}) == policy.key_name({}) == ""
    exchange = read_exchange(
        tape("/v1/responses", {"model": "m"}, [b"{}"], headers={"authorization": "Bearer sk-one"})
    )
    collected = Collected()
    spans = spans_of(exchange, Resolver().resolve(exchange), policy, "0")
    collected.take(("", ""), spans, lambda *_: None)
    (span,) = collected.named("chat")
    assert attributes(span)["eddyline.key_name"] == "prod"
    assert "sk-one" not in everything(collected)


# --------------------------------------------------------------------------- when recording fails


def test_traffic_goes_on_when_nothing_can_be_stored(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    collected.refuse = True
    assert post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO}).status_code == 200
    time.sleep(0.1)
    collected.refuse = False
    collected.wait(1, "chat")


def test_traffic_goes_on_when_reading_fails(
    proxy: RunningProxy, provider: Provider, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr("collector.proxy.recorder.read_exchange", broken)
        assert (
            post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO}).status_code == 200
        )
        failed = 0
        while not failed:
            failed = httpx.get(f"{proxy.url}/-/status").json()["recorder"]["failed"]
    post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO})
    collected.wait(1, "chat")


def test_bodies_longer_than_the_limit_pass_and_are_marked(provider: Provider) -> None:
    with RunningProxy(upstreams={"openai": {"url": provider.url}}, capture={"max_body_bytes": 1000}) as proxy:
        long = [{"role": "user", "content": "x" * 5000}]
        post(proxy, "/openai/v1/chat/completions", {"model": "gpt-4o", "messages": long})
        (span,) = proxy.collected.wait(1, "chat")
        assert len(provider.seen[0].body) > 5000
    found = attributes(span)
    assert (found["eddyline.proxy.truncated"], found["gen_ai.usage.input_tokens"]) == (True, 19)


def test_events_that_are_not_json_are_passed_and_skipped(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    pieces = list(chat_stream({}))
    provider.script.append(Answer.sse([event("not json"), b": hello\n\n", *pieces]))
    answer = post(proxy, "/openai/v1/chat/completions", {"model": "m", "messages": HELLO, "stream": True})
    assert answer.content == event("not json") + b": hello\n\n" + b"".join(pieces)
    (span,) = collected.wait(1, "chat")
    assert "".join(part["content"] for part in said(span)[0]["parts"]) == TEXT


def test_traffic_goes_on_when_calls_come_faster_than_they_are_read(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = threading.Event()

    def slow(tape: Tape) -> Exchange:
        reading.wait(PATIENCE_S)
        return read_exchange(tape)

    monkeypatch.setattr("collector.proxy.recorder.read_exchange", slow)
    limits = {"max_queue_calls": 5, "max_queue_bytes": 8000}
    with RunningProxy(upstreams={"openai": {"url": provider.url}}, capture=limits) as proxy:
        asked = {"model": "m", "messages": [{"role": "user", "content": "x" * 1500}]}
        for _ in range(12):
            assert (
                post(proxy, "/openai/v1/chat/completions", asked).json()["choices"][0]["message"]["content"]
                == TEXT
            )
        counts = httpx.get(f"{proxy.url}/-/status").json()["recorder"]
        assert counts["waiting"] <= 5
        assert counts["dropped"] >= 5
        assert counts["without_content"] >= 1
        reading.set()
        spans = proxy.collected.wait(5, "chat")
        assert {attributes(span)["http.response.status_code"] for span in spans} == {200}


def test_a_search_by_openai_s_older_tool_has_its_price() -> None:
    searched = [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]
    document = response({"model": "gpt-4o-mini"}, output=searched)
    costs: list[Decimal] = []
    for tool in ("web_search", "web_search_preview"):
        body = {"model": "gpt-4o-mini", "input": "hello", "tools": [{"type": tool}]}
        pieces = [json.dumps(document).encode()]
        exchange = read_exchange(tape("/v1/responses", body, pieces, media_type="application/json"))
        policy = Policy(True, True, True, True, b"salt")
        spans = {
            span.name: span
            for span in decode_traces(spans_of(exchange, Resolver().resolve(exchange), policy, "1"))
        }
        event = Normalizer().normalize(spans["chat gpt-4o-mini"])
        Prices().price(event)
        assert event.cost_usd is not None
        costs.append(event.cost_usd)
    assert costs[1] - costs[0] == Decimal("0.015")
