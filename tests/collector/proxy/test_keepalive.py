"""Comments in silent streams: between events only, in no record, and not unless they are asked for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from collector.proxy.keepalive import COMMENT, KeepAlive
from tests.collector.proxy import sdks
from tests.collector.proxy.collected import attributes
from tests.collector.proxy.running import RunningProxy
from tests.provider import TEXT, Answer, Provider, chat_stream

CHAT = "/openai/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
SILENCE_S = 0.2


@pytest.fixture(scope="module")
def proxy(_provider: Provider) -> Iterator[RunningProxy]:
    with RunningProxy(upstreams={"openai": {"url": _provider.url}}, sse_keepalive=SILENCE_S / 8) as running:
        yield running


def test_a_silent_stream_shows_signs_of_life_between_events(proxy: RunningProxy, provider: Provider) -> None:
    first, second, *rest = chat_stream(ASKED)
    pieces = [SILENCE_S, first, SILENCE_S, second[:9], SILENCE_S, second[9:], SILENCE_S, *rest]
    provider.script.append(Answer.sse(pieces))
    proxy.collected.clear()
    got = httpx.post(proxy.url + CHAT, json=ASKED).content
    whole = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    assert got.replace(COMMENT, b"") == whole
    before, between, after = got.partition(first)[0], got.partition(first)[2].partition(second)[0], got
    assert set(before.split(COMMENT)) == set(between.split(COMMENT)) == {b""}
    assert before.count(COMMENT) >= 1
    assert between.count(COMMENT) >= 1
    assert second in after
    (span,) = proxy.collected.wait(1, "chat")
    told = attributes(span)
    assert told["eddyline.proxy.events"] == len(list(chat_stream(ASKED)))
    assert told["eddyline.bytes.response"] == len(whole)


def test_openai_s_sdk_reads_over_them(proxy: RunningProxy, provider: Provider) -> None:
    provider.script.append(
        Answer.sse([part for piece in chat_stream(ASKED) for part in (SILENCE_S / 4, piece)])
    )
    client = sdks.openai.OpenAI(base_url=f"{proxy.url}/openai/v1", api_key="k")
    stream = client.chat.completions.create(**ASKED)
    assert "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices) == TEXT


@pytest.mark.parametrize("kind", ["json", "gzip", "with its length"])
def test_what_can_hold_no_comment_gets_none(proxy: RunningProxy, provider: Provider, kind: str) -> None:
    whole = b"".join(chat_stream(ASKED))
    sent = (
        gzip.compress(whole) if kind == "gzip" else json.dumps({"a": 1}).encode() if kind == "json" else whole
    )
    answer = Answer.sse([sent[:5], SILENCE_S, sent[5:]])
    if kind == "json":
        answer.headers = [("content-type", "application/json")]
    if kind == "gzip":
        answer.headers.append(("content-encoding", "gzip"))
    answer.length = kind == "with its length"
    provider.script.append(answer)
    with httpx.stream("POST", proxy.url + CHAT, json=ASKED) as got:
        assert b"".join(got.iter_raw()) == sent


def test_nobody_gets_them_who_did_not_ask(provider: Provider) -> None:
    with RunningProxy(upstreams={"openai": {"url": provider.url}}) as running:
        first, *rest = chat_stream(ASKED)
        provider.script.append(Answer.sse([first, SILENCE_S, *rest]))
        assert httpx.post(running.url + CHAT, json=ASKED).content == first + b"".join(rest)


@pytest.mark.parametrize(
    ("pieces", "between"),
    [
        ([], True),
        ([b"data: x\n"], False),
        ([b"data: x\n", b"\n"], True),
        ([b"data: x\r\n\r"], False),
        ([b"data: x\r\n\r", b"\n"], True),
        ([b"data: x\r\r"], True),
        ([b"data: x\n\nda"], False),
        ([b"d"], False),
    ],
)
def test_an_event_has_ended_or_not(pieces: list[bytes], between: bool) -> None:
    async def send(_: Any) -> None: ...

    alive = KeepAlive(send, 1.0)
    for piece in pieces:
        alive.sent(piece)
    assert alive.is_between_events is between
