"""Asking for token counts on behalf of clients that did not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from collector.proxy.usage import WithoutUsage, asking_for_usage
from tests.collector.proxy import sdks
from tests.collector.proxy.collected import attributes
from tests.collector.proxy.running import RunningProxy
from tests.collector.proxy.tapes import cut
from tests.provider import TEXT, Answer, Provider, chat_stream

STREAMED: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "hi"}],
    "stream": True,
}
COUNTED = {**STREAMED, "stream_options": {"include_usage": True}}


@pytest.fixture
def asking(provider: Provider) -> Iterator[RunningProxy]:
    upstreams = {"openai": {"url": provider.url}, "groq": {"url": provider.url}}
    with RunningProxy(upstreams=upstreams, usage={"inject": "auto"}) as running:
        yield running


def post(proxy: RunningProxy, body: Any, upstream: str = "openai", **headers: str) -> bytes:
    url = f"{proxy.url}/{upstream}/v1/chat/completions"
    return httpx.post(url, json=body, headers=headers).content


def test_the_tokens_of_a_stream_are_counted_and_the_client_sees_what_it_asked_for(
    asking: RunningProxy, provider: Provider
) -> None:
    client = sdks.openai.OpenAI(base_url=f"{asking.url}/openai/v1", api_key="k")
    chunks = [*client.chat.completions.create(**STREAMED)]
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == TEXT
    assert all(chunk.choices for chunk in chunks)
    assert provider.seen[0].json["stream_options"] == {"include_usage": True}
    span = attributes(asking.collected.wait(1, "chat")[0])
    assert (span["gen_ai.usage.output_tokens"], span["eddyline.usage.source"]) == (10, "injected")
    assert post(asking, STREAMED) == b"".join(chat_stream(STREAMED))


def test_a_client_that_asks_itself_gets_everything(asking: RunningProxy, provider: Provider) -> None:
    assert post(asking, COUNTED) == b"".join(chat_stream(COUNTED))
    span = attributes(asking.collected.wait(1, "chat")[0])
    assert span["eddyline.usage.source"] == "provider"


@pytest.mark.parametrize(
    "body", [{**STREAMED, "stream": False}, {**STREAMED, "stream_options": {"include_usage": False}}]
)
def test_nobody_is_asked_who_was_told_not_to(asking: RunningProxy, provider: Provider, body: Any) -> None:
    post(asking, body)
    assert provider.seen[0].json == body


def test_other_providers_and_calls_without_a_record_are_not_asked(
    asking: RunningProxy, provider: Provider
) -> None:
    post(asking, STREAMED, "groq")
    post(asking, STREAMED, **{"x-loop-capture": "off"})
    assert [seen.json for seen in provider.seen] == [STREAMED, STREAMED]


def test_it_is_off_unless_it_is_switched_on(proxy: RunningProxy, provider: Provider) -> None:
    post(proxy, STREAMED)
    assert provider.seen[0].json == STREAMED


def test_errors_pass_as_they_are(asking: RunningProxy, provider: Provider) -> None:
    provider.script.append(Answer.json({"error": {"message": "no"}}, 400))
    assert json.loads(post(asking, STREAMED)) == {"error": {"message": "no"}}


def test_the_rest_of_a_request_stays_as_it_was_written() -> None:
    body = b' {"stream" : true,  "model":"m" }'
    asking = asking_for_usage(body)
    assert asking == b' {"stream_options":{"include_usage":true},"stream" : true,  "model":"m" }'
    assert asking_for_usage(asking) == asking
    with_others = json.dumps({**STREAMED, "stream_options": {"include_obfuscation": False}}).encode()
    assert json.loads(asking_for_usage(with_others))["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    for other in (b"", b"[]", b"no", b'{"stream": false}', b'{"stream_options": null, "stream": true}'):
        assert asking_for_usage(other) == other


@pytest.mark.parametrize("step", [1, 5, 64, 10_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_only_the_event_that_counts_is_left_out_wherever_it_is_cut(step: int, line_end: bytes) -> None:
    whole = b": hello\n\n" + b"".join(chat_stream(COUNTED))
    expected = b": hello\n\n" + b"".join(chat_stream(STREAMED))
    whole, expected = whole.replace(b"\n", line_end), expected.replace(b"\n", line_end)
    without = WithoutUsage()
    assert (
        b"".join([*map(without.feed, cut(whole, [*range(0, len(whole), step)])), without.end()]) == expected
    )


def test_azures_first_event_stays() -> None:
    event = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}\n\n'
    assert WithoutUsage().feed(event) == event


def test_the_sidecars_metrics_are_text_for_prometheus(asking: RunningProxy) -> None:
    post(asking, STREAMED)
    httpx.get(f"{asking.url}/nobody")
    asking.collected.wait(1, "chat")
    answer = httpx.get(f"{asking.url}/-/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'eddyline_proxy_requests_total{upstream="openai"} 1.0' in answer.text
    assert 'eddyline_proxy_errors_total{error="route"} 1.0' in answer.text
    assert 'eddyline_proxy_calls_total{outcome="recorded"}' in answer.text
