"""What is read off a tape: the same however the bytes were cut, and the outcome that the client saw."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.proxy.exchange import Exchange, Outcome, read_exchange
from collector.proxy.tape import Ending
from tests.collector.proxy.tapes import MS, cut, tape
from tests.collector.proxy.test_followers import LM_ANSWER, LM_EVENTS
from tests.provider import (
    TEXT,
    call,
    chat,
    chat_stream,
    converse_stream,
    embeddings,
    event,
    gemini,
    gemini_stream,
    invoked_stream,
    message,
    messages_stream,
    ollama_stream,
    response,
    responses_stream,
)

TOOL = {
    "type": "tool_use",
    "id": "toolu_1",
    "name": "get_weather",
    "input": {"city": "São Paulo", "n": [1, 2]},
}
TOOL_USE = {"toolUseId": "tooluse_1", "name": "get_weather", "input": {"city": "São Paulo"}}
AMAZON = "application/vnd.amazon.eventstream"
CALLS = [call("call_1", "get_weather", '{"city":"Paris"}'), call("call_2", "get_time", '{"zone":"Z"}')]
ASKED = {"model": "gpt-4o-mini", "stream": True, "stream_options": {"include_usage": True}}

STREAMS: dict[str, tuple[str, bytes, str]] = {
    "chat": ("/v1/chat/completions", b"".join(chat_stream(ASKED)), "text/event-stream"),
    "chat calls": ("/v1/chat/completions", b"".join(chat_stream(ASKED, calls=CALLS)), "text/event-stream"),
    "responses": ("/v1/responses", b"".join(responses_stream({})), "text/event-stream; charset=utf-8"),
    "messages": (
        "/v1/messages",
        b"".join(messages_stream({}, [{"type": "text", "text": TEXT}, TOOL])),
        "text/event-stream",
    ),
    "gemini": ("/v1beta/models/g:streamGenerateContent", b"".join(gemini_stream()), "text/event-stream"),
    "gemini array": (
        "/v1beta/models/g:streamGenerateContent",
        json.dumps([gemini(TEXT[:5], last=False), gemini(TEXT[5:])], indent=2, ensure_ascii=False).encode(),
        "application/json",
    ),
    "converse": ("/model/m/converse-stream", b"".join(converse_stream(TOOL_USE)), AMAZON),
    "invoked claude": (
        "/model/anthropic.c/invoke-with-response-stream",
        b"".join(invoked_stream({})),
        AMAZON,
    ),
    "lm studio": (
        "/api/v1/chat",
        b"".join(map(event, [*LM_EVENTS, {"type": "chat.end", "result": LM_ANSWER}])),
        "text/event-stream",
    ),
    "ollama": ("/api/chat", b"".join(ollama_stream({})), "application/x-ndjson"),
}


def told(exchange: Exchange) -> tuple[Any, ...]:
    """All that was said, without when."""
    answered = exchange.answered
    return (
        exchange.outcome,
        answered.id,
        answered.model,
        answered.finish_reasons,
        answered.messages,
        answered.usage,
        exchange.error_type,
        exchange.events,
        [(made.id, made.name, made.arguments) for made in exchange.calls],
        exchange.faults,
    )


@pytest.mark.parametrize("name", STREAMS)
@given(places=st.lists(st.integers(0, 1 << 20), max_size=40))
@settings(max_examples=25, deadline=None)
def test_a_stream_reads_the_same_however_it_is_cut(name: str, places: list[int]) -> None:
    path, whole, media_type = STREAMS[name]
    once = read_exchange(tape(path, ASKED, [whole], media_type=media_type))
    assert once.outcome == Outcome.COMPLETE
    assert not once.faults
    assert told(read_exchange(tape(path, ASKED, cut(whole, places), media_type=media_type))) == told(once)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_reads_the_same_byte_by_byte(name: str) -> None:
    path, whole, media_type = STREAMS[name]
    once = read_exchange(tape(path, ASKED, [whole], media_type=media_type))
    bytewise = read_exchange(tape(path, ASKED, cut(whole, range(len(whole))), media_type=media_type))
    assert told(bytewise) == told(once)


@pytest.mark.parametrize(
    "name", [name for name, stream in STREAMS.items() if stream[2].startswith("text/event-stream")]
)
@pytest.mark.parametrize(
    "rewritten",
    [
        lambda whole: whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
        lambda whole: whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r"),
        lambda whole: b"\xef\xbb\xbf" + whole,
        lambda whole: b": comment\n\n" + whole.replace(b"data: ", b"data:"),
        lambda whole: whole.rstrip(b"\r\n"),
        lambda whole: b"retry: 10\nid: 1\n" + whole,
    ],
    ids=["crlf", "cr", "bom", "comment", "no last blank line", "other fields"],
)
def test_all_spellings_of_server_sent_events_are_read(name: str, rewritten: Callable[[bytes], bytes]) -> None:
    path, whole, media_type = STREAMS[name]
    once = read_exchange(tape(path, ASKED, [whole], media_type=media_type))
    for pieces in ([rewritten(whole)], cut(rewritten(whole), range(0, 100_000, 7))):
        assert told(read_exchange(tape(path, ASKED, pieces, media_type=media_type))) == told(once)


CODERS: dict[str, Callable[[], tuple[Callable[[bytes], bytes], Callable[[], bytes]]]] = {
    "gzip": lambda: _flushing(zlib.compressobj(wbits=31)),
    "deflate": lambda: _flushing(zlib.compressobj()),
    "br": lambda: _brotli(),
    "zstd": lambda: _zstd(),
}


def _flushing(coder: Any) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    return lambda piece: coder.compress(piece) + coder.flush(zlib.Z_SYNC_FLUSH), coder.flush


def _brotli() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    coder = brotli.Compressor()
    return lambda piece: coder.process(piece) + coder.flush(), coder.finish


def _zstd() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    coder = zstandard.ZstdCompressor().compressobj()
    return lambda piece: coder.compress(piece) + coder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), coder.flush


@pytest.mark.parametrize("coding", CODERS)
def test_encoded_streams_are_read_with_their_times(coding: str) -> None:
    events = list(chat_stream(ASKED))
    encode, finish = CODERS[coding]()
    pieces = [encode(one) for one in events] + [finish()]
    plain = read_exchange(tape("/v1/chat/completions", ASKED, events))
    encoded = read_exchange(tape("/v1/chat/completions", ASKED, pieces, coding=coding))
    assert told(encoded) == told(plain)
    assert encoded.first_content_ns == plain.first_content_ns
    assert encoded.gaps_ns == plain.gaps_ns
    one_piece = read_exchange(
        tape("/v1/chat/completions", ASKED, cut(b"".join(pieces), range(0, 9999, 3)), coding=coding)
    )
    assert told(one_piece) == told(plain)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "snappy", "gzip, gzip"])
def test_what_is_not_what_its_coding_says_is_a_fault_of_the_reading_only(coding: str) -> None:
    exchange = read_exchange(tape("/v1/chat/completions", ASKED, [b"\x01\x02 not that"], coding=coding))
    assert exchange.faults == ["response"]
    assert exchange.asked.model == "gpt-4o-mini"


def test_times_are_those_of_the_pieces() -> None:
    events = [event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})]
    events += [event({"choices": [{"delta": {"content": "a"}}]})] * 3 + [event("[DONE]")]
    exchange = read_exchange(tape("/v1/chat/completions", ASKED, events, step_ns=1_500 * MS))
    assert exchange.first_event_ns == 1_500 * MS
    assert exchange.first_content_ns == 3_000 * MS
    assert exchange.gaps_ns == [1_500 * MS] * 2
    assert exchange.stalls == []
    slow = read_exchange(tape("/v1/chat/completions", ASKED, events, step_ns=2_500 * MS))
    assert slow.stalls == [(7_500 * MS, 2_500 * MS), (10_000 * MS, 2_500 * MS)]


# --------------------------------------------------------------------------- how it ended

BEGUN = list(chat_stream(ASKED))[:4]
SAID = list(messages_stream({}))
ERROR = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")
FAILED = {**response({}, "failed", []), "error": {"code": "server_error", "message": "boom"}}


@pytest.mark.parametrize(
    ("path", "pieces", "more", "outcome", "error"),
    [
        ("/v1/chat/completions", list(chat_stream(ASKED)), {}, Outcome.COMPLETE, ""),
        ("/v1/chat/completions", list(chat_stream(ASKED)), {"ending": Ending.CLIENT}, Outcome.COMPLETE, ""),
        ("/v1/chat/completions", list(chat_stream(ASKED)), {"ending": Ending.UPSTREAM}, Outcome.COMPLETE, ""),
        ("/v1/chat/completions", list(chat_stream(ASKED))[:-1], {}, Outcome.COMPLETE, ""),
        ("/v1/chat/completions", BEGUN, {"ending": Ending.CLIENT}, Outcome.CLIENT_ABORT, "client_disconnect"),
        (
            "/v1/chat/completions",
            BEGUN,
            {"ending": Ending.UPSTREAM},
            Outcome.UPSTREAM_ABORT,
            "stream_ended_early",
        ),
        ("/v1/chat/completions", BEGUN, {}, Outcome.UPSTREAM_ABORT, "stream_ended_early"),
        (
            "/v1/chat/completions",
            [*BEGUN, event({"error": {"message": "x", "type": "server_error"}})],
            {},
            Outcome.MID_STREAM_ERROR,
            "server_error",
        ),
        (
            "/v1/chat/completions",
            [b'{"error":{"message":"no","type":"invalid_request_error"}}'],
            {"status": 400, "media_type": "application/json"},
            Outcome.PROVIDER_ERROR,
            "invalid_request_error",
        ),
        (
            "/v1/chat/completions",
            [b"<html>bad gateway"],
            {"status": 502, "media_type": "text/html"},
            Outcome.PROVIDER_ERROR,
            "502",
        ),
        ("/v1/chat/completions", [], {"status": 503, "media_type": ""}, Outcome.PROVIDER_ERROR, "503"),
        (
            "/v1/chat/completions",
            [json.dumps(chat({})).encode()],
            {"media_type": "application/json"},
            Outcome.COMPLETE,
            "",
        ),
        (
            "/v1/chat/completions",
            [b'{"id":'],
            {"media_type": "application/json", "ending": Ending.CLIENT},
            Outcome.CLIENT_ABORT,
            "client_disconnect",
        ),
        ("/v1/messages", SAID, {"ending": Ending.CLIENT}, Outcome.COMPLETE, ""),
        ("/v1/messages", SAID[:-1], {"ending": Ending.CLIENT}, Outcome.CLIENT_ABORT, "client_disconnect"),
        ("/v1/messages", [*SAID[:5], ERROR], {}, Outcome.MID_STREAM_ERROR, "overloaded_error"),
        (
            "/v1/messages",
            [ERROR[ERROR.index(b"{") :]],
            {"status": 529, "media_type": "application/json"},
            Outcome.PROVIDER_ERROR,
            "overloaded_error",
        ),
        ("/v1/responses", list(responses_stream({}, "incomplete")), {}, Outcome.COMPLETE, ""),
        (
            "/v1/responses",
            [event({"type": "response.failed", "response": FAILED})],
            {},
            Outcome.MID_STREAM_ERROR,
            "server_error",
        ),
        (
            "/v1/responses",
            [event({"type": "error", "code": "rate_limit", "message": "m"})],
            {},
            Outcome.MID_STREAM_ERROR,
            "rate_limit",
        ),
        (
            "/v1/responses",
            list(responses_stream({}))[:-1],
            {"ending": Ending.UPSTREAM},
            Outcome.UPSTREAM_ABORT,
            "stream_ended_early",
        ),
        ("/m/models/g:streamGenerateContent", list(gemini_stream()), {}, Outcome.COMPLETE, ""),
        (
            "/m/models/g:streamGenerateContent",
            list(gemini_stream())[:1],
            {},
            Outcome.UPSTREAM_ABORT,
            "stream_ended_early",
        ),
        (
            "/m/models/g:generateContent",
            [b'[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]'],
            {"status": 429, "media_type": "application/json"},
            Outcome.PROVIDER_ERROR,
            "RESOURCE_EXHAUSTED",
        ),
        ("/api/chat", list(ollama_stream({})), {"media_type": "application/x-ndjson"}, Outcome.COMPLETE, ""),
        (
            "/api/chat",
            list(ollama_stream({}))[:2],
            {"media_type": "application/x-ndjson", "ending": Ending.CLIENT},
            Outcome.CLIENT_ABORT,
            "client_disconnect",
        ),
        (
            "/api/chat",
            [b'{"error":"model not found"}'],
            {"media_type": "application/json", "status": 404},
            Outcome.PROVIDER_ERROR,
            "404",
        ),
    ],
)
def test_the_outcome_is_judged_by_what_was_said_before_who_hung_up(
    path: str, pieces: list[bytes], more: dict[str, Any], outcome: str, error: str
) -> None:
    exchange = read_exchange(tape(path, ASKED, pieces, **more))
    assert (exchange.outcome, exchange.error_type) == (outcome, error)


def test_what_was_known_when_it_broke_is_kept() -> None:
    exchange = read_exchange(tape("/v1/messages", {}, SAID[:8], ending=Ending.CLIENT))
    assert exchange.answered.usage.input == 9 + 5 + 7
    assert exchange.answered.messages[0]["parts"][0]["content"] == TEXT[:15]
    assert exchange.answered.finish_reasons == ["error"]


def test_a_copy_that_is_not_whole_says_so() -> None:
    long = tape("/v1/chat/completions", ASKED, BEGUN)
    long.response_cut = True
    assert read_exchange(long).outcome == Outcome.TRUNCATED


def test_of_a_request_too_long_to_keep_the_model_is_still_known() -> None:
    long = tape(
        "/v1/chat/completions", b'{"model": "gpt-4o", "messages": ["' + b"x" * 100, list(chat_stream(ASKED))
    )
    long.request_cut = True
    assert read_exchange(long).asked.model == "gpt-4o"


def test_an_event_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.proxy.framing.MAX_EVENT", 1000)
    exchange = read_exchange(tape("/v1/chat/completions", ASKED, [*BEGUN, b"data: " + b"x" * 2000]))
    assert exchange.faults == ["response"]
    assert exchange.answered.messages[0]["parts"][0]["content"] == TEXT[:9]


# --------------------------------------------------------------------------- what each API says


def answered(path: str, document: Any, request: Any = None, **more: Any) -> Exchange:
    return read_exchange(
        tape(path, request or {}, [json.dumps(document).encode()], media_type="application/json", **more)
    )


def test_usage_of_each_api_is_inclusive() -> None:
    usages = {
        path: (usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning)
        for path, document in {
            "/v1/chat/completions": chat({}),
            "/v1/responses": response({}),
            "/v1/messages": message({}),
            "/m/models/g:generateContent": gemini(),
            "/v1/embeddings": embeddings({}),
        }.items()
        for usage in [answered(path, document).answered.usage]
    }
    assert usages == {
        "/v1/chat/completions": (19, 10, 4, None, 3),
        "/v1/responses": (21, 12, 5, None, 4),
        "/v1/messages": (21, 11, 7, 5, None),
        "/m/models/g:generateContent": (8, 70, None, None, 50),
        "/v1/embeddings": (6, None, None, None, None),
    }


@pytest.mark.parametrize(
    "usage_chunks",
    [
        [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}],
        [{"choices": [], "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}}],
        [
            {"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
            {"choices": [{"delta": {"content": "b"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
            {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": None},
        ],
    ],
    ids=["openai", "groq", "in every chunk"],
)
def test_usage_is_found_wherever_followers_put_it(usage_chunks: list[Any]) -> None:
    pieces = [*map(event, usage_chunks), event("[DONE]")]
    usage = read_exchange(tape("/v1/chat/completions", ASKED, pieces)).answered.usage
    assert (usage.input, usage.output) == (3, 2)


def test_zero_is_told_from_unknown() -> None:
    document = chat({})
    document["usage"] = {
        "prompt_tokens": 5,
        "completion_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    usage = answered("/v1/chat/completions", document).answered.usage
    assert (usage.output, usage.cache_read, usage.reasoning) == (0, 0, None)
    assert answered("/v1/chat/completions", {**chat({}), "usage": None}).answered.usage.known is False


def test_cumulative_usage_of_messages_is_not_added_up() -> None:
    pieces = list(messages_stream({}))[:-2]
    pieces.append(
        event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "max_tokens"},
                "usage": {"input_tokens": 9, "cache_read_input_tokens": 7, "output_tokens": 40},
            },
            "message_delta",
        )
    )
    pieces.append(event({"type": "message_stop"}, "message_stop"))
    found = read_exchange(tape("/v1/messages", {}, pieces)).answered
    assert (found.usage.input, found.usage.output, found.finish_reasons) == (21, 40, ["length"])


@pytest.mark.parametrize(
    "fragments",
    [
        [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
            {"index": 0, "function": {"arguments": ":1}"}},
        ],
        [{"id": "a", "function": {"name": "f", "arguments": '{"x"'}}, {"function": {"arguments": ":1}"}}],
        [
            {"id": "a", "function": {"name": "f", "arguments": '{"x"'}},
            {"id": "a", "function": {"name": "f", "arguments": ":1}"}},
        ],
        [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}],
    ],
    ids=["indexed", "without index", "id repeated", "as an object"],
)
def test_calls_are_put_together_from_fragments_of_all_kinds(fragments: list[Any]) -> None:
    pieces = [event({"choices": [{"delta": {"tool_calls": [fragment]}}]}) for fragment in fragments]
    exchange = read_exchange(tape("/v1/chat/completions", ASKED, [*pieces, event("[DONE]")]))
    assert [(made.id, made.name, json.loads(made.arguments)) for made in exchange.calls] == [
        ("a", "f", {"x": 1})
    ]
    assert exchange.calls[0].ended_ns == len(fragments) * MS


def test_reasoning_is_apart_from_the_text() -> None:
    pieces = [
        event({"choices": [{"delta": {"reasoning_content": "hm"}}]}),
        event({"choices": [{"delta": {"content": "ok"}}]}),
    ]
    found = read_exchange(tape("/v1/chat/completions", ASKED, [*pieces, event("[DONE]")])).answered.messages[
        0
    ]
    assert [(part["type"], part["content"]) for part in found["parts"]] == [
        ("reasoning", "hm"),
        ("text", "ok"),
    ]


def test_media_are_kept_by_size_and_hash_only() -> None:
    data = "QUJD" * 10_000
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    ]
    exchange = answered(
        "/v1/chat/completions", chat({}), {"messages": [{"role": "user", "content": content}]}
    )
    parts = exchange.asked.messages[0]["parts"]
    assert [part["type"] for part in parts] == ["text", "blob", "blob", "uri"]
    assert parts[1]["bytes"] == 30_000
    assert "QUJD" not in json.dumps(parts)


def test_items_of_responses_are_one_conversation() -> None:
    request = {
        "instructions": "be brief",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": "xyz"},
            {"type": "function_call", "call_id": "c1", "name": "w", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "sh", "input": "ls"},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
            {
                "type": "custom_tool_call_output",
                "call_id": "c2",
                "output": [{"type": "input_text", "text": "a.txt"}],
            },
        ],
        "previous_response_id": "resp_0",
    }
    asked = answered("/v1/responses", response({}), request).asked
    assert [message["role"] for message in asked.messages] == ["user", "assistant", "tool"]
    assert [(part["id"], part["response"]) for part in asked.messages[2]["parts"]] == [
        ("c1", "sunny"),
        ("c2", "a.txt"),
    ]
    assert asked.previous_response == "resp_0"
    assert "xyz" not in json.dumps(asked.messages)


def test_a_response_whose_end_never_came_is_told_by_its_deltas() -> None:
    pieces = list(responses_stream({}))[:-4]
    exchange = read_exchange(tape("/v1/responses", {}, pieces, ending=Ending.CLIENT))
    assert exchange.answered.messages[0]["parts"] == [{"type": "text", "content": TEXT}]


def test_tools_that_the_provider_ran_are_calls_with_results() -> None:
    content = [
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srv_1",
            "content": [{"type": "web_search_result", "title": "t", "url": "u"}],
        },
        {"type": "text", "text": "found"},
    ]
    made = answered("/v1/messages", message({}, content)).calls
    assert [(one.name, one.on_server, one.result is not None) for one in made] == [("web_search", True, True)]


def _search(query: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": query},
    } | more


GROUNDED = {"groundingMetadata": {"webSearchQueries": ["a", "b", ""], "imageSearchQueries": ["c"]}}
SEARCHED: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "messages": (
        "/v1/messages",
        message({}) | {"usage": {"input_tokens": 1, "server_tool_use": {"web_search_requests": 2}}},
        2,
    ),
    "messages without": ("/v1/messages", message({}), None),
    "responses": (
        "/v1/responses",
        response({})
        | {
            "output": [
                _search("a"),
                _search("b", status="failed"),
                _search("c", action={"type": "open_page", "url": "https://example.com"}),
                {"type": "web_search_call", "status": "completed"},  # before actions were told
            ]
        },
        2,
    ),
    "responses without": ("/v1/responses", response({}), None),
    "gemini": (
        "/m/models/g:generateContent",
        gemini() | {"candidates": [gemini()["candidates"][0] | GROUNDED]},
        3,
    ),
    "gemini without": ("/m/models/g:generateContent", gemini(), None),
    "perplexity": (
        "/v1/chat/completions",
        chat({}) | {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "num_search_queries": 4}},
        4,
    ),
}


@pytest.mark.parametrize("name", SEARCHED)
def test_searches_of_the_web_are_counted_as_they_are_charged(name: str) -> None:
    path, document, searches = SEARCHED[name]
    assert answered(path, document).answered.usage.web_searches == searches


def test_searches_that_chunks_tell_again_are_counted_once() -> None:
    chunks = [gemini("x", last=False), gemini("y", last=False), gemini("z")]
    for chunk, queries in zip(chunks, (["a"], ["a", "b"], ["c"]), strict=True):
        chunk["candidates"][0]["groundingMetadata"] = {"webSearchQueries": queries}
    read = read_exchange(tape("/v1beta/models/g:streamGenerateContent", {}, [*map(event, chunks)]))
    assert read.answered.usage.web_searches == 3


SEARCH = {"type": "web_search_call", "id": "ws_1", "action": {"query": "q"}}
SERVER_TOOLS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "messages": (
        "/v1/messages",
        [
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {
                    "type": "server_tool_use",
                    "id": "srv_1",
                    "name": "web_search",
                    "input": {},
                },
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "ping"},
            {
                "type": "content_block_start",
                "index": 1,
                "content_block": {
                    "type": "web_search_tool_result",
                    "tool_use_id": "srv_1",
                    "content": [{"type": "web_search_result", "title": "t", "url": "u"}],
                },
            },
            {"type": "content_block_stop", "index": 1},
        ],
    ),
    "responses": (
        "/v1/responses",
        [
            {"type": "response.created", "response": {"id": "r"}},
            {"type": "response.output_item.added", "output_index": 0, "item": SEARCH},
            {"type": "response.web_search_call.searching", "output_index": 0},
            {"type": "response.output_item.done", "output_index": 0, "item": SEARCH},
        ],
    ),
}


@pytest.mark.parametrize("name", SERVER_TOOLS)
def test_a_tool_that_the_provider_runs_takes_as_long_as_the_stream_tells(name: str) -> None:
    path, events = SERVER_TOOLS[name]
    (made,) = read_exchange(tape(path, {}, [*map(event, events)])).calls
    assert (made.name, made.on_server, made.ran_ns) == ("web_search", True, (2 * MS, 4 * MS))


def test_azure_names_the_model_in_the_path() -> None:
    exchange = answered("/openai/deployments/my-gpt/chat/completions", chat({}))
    assert exchange.asked.model == "my-gpt"


def test_counting_tokens_uses_none() -> None:
    exchange = answered("/v1/messages/count_tokens", {"input_tokens": 14}, {"model": "claude"})
    assert exchange.asked.operation == "count_tokens"
    assert not exchange.answered.usage.known
    assert exchange.answered.attributes == {"anthropic.message.count_tokens.input_tokens": 14}


def test_a_form_is_read_without_its_file() -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        + b"\x00" * 5000
        + b"\r\n--x--\r\n"
    )
    headers = {"content-type": "multipart/form-data; boundary=x"}
    exchange = answered("/v1/audio/transcriptions", {"text": "hello"}, form, headers=headers)
    assert (exchange.asked.operation, exchange.asked.model) == ("transcription", "whisper-1")
    assert exchange.answered.messages[0]["parts"][0]["content"] == "hello"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "content",
                    "role",
                    "type",
                    "text",
                    "id",
                    "index",
                    "delta",
                    "choices",
                    "usage",
                    "message",
                    "parts",
                    "output",
                    "tool_calls",
                    "function",
                    "error",
                    "candidates",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("name", STREAMS)
@given(request=JSON, events=st.lists(JSON, max_size=3))
@settings(max_examples=30, deadline=None)
def test_hostile_shapes_cost_their_own_meaning_only(name: str, request: Any, events: list[Any]) -> None:
    path, _, media_type = STREAMS[name]
    body = {
        "messages": request,
        "input": request,
        "contents": request,
        "model": request,
        "tools": request,
        "system": request,
    }
    read_exchange(tape(path, body, [event(one) for one in events], media_type="text/event-stream"))
    read_exchange(tape(path, body, [json.dumps(request).encode()], media_type=media_type))


def test_gzip_in_two_members_is_one_body() -> None:
    document = json.dumps(chat({})).encode()
    body = gzip.compress(document[:50]) + gzip.compress(document[50:])
    exchange = read_exchange(
        tape(
            "/v1/chat/completions",
            {},
            cut(body, range(0, 500, 11)),
            media_type="application/json",
            coding="gzip",
        )
    )
    assert exchange.answered.id == "chatcmpl-1"
