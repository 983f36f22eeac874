"""Plugins of the proxy: calls that are not recorded, what is changed on request, who is told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.config import ProxyCapture, ProxyPlugin
from collector.proxy.changing import AnswerChanges, ChangedAnswer, changed_request
from collector.proxy.door import ProxyDoor
from collector.proxy.observing import Observed, Observers
from collector.proxy.plugins import PluginError, Plugins, read_plugins
from collector.proxy.recorder import ExchangeRecorder, RetryingOutlet
from tests.collector.proxy import sdks
from tests.collector.proxy.collected import Collected, attributes, said
from tests.collector.proxy.running import RunningProxy
from tests.collector.proxy.tapes import cut
from tests.provider import TEXT, Answer, Provider, chat_stream, messages_stream, responses_stream
from tests.server import Server
from tests.waiting import until

ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "tell me of cats"}]}
STREAMED = {**ASKED, "stream": True}


def plugin(type_: str, **more: Any) -> ProxyPlugin:
    return ProxyPlugin(id=more.pop("id", "p"), type=type_, **more)  # type: ignore[arg-type]  # any member may be given


def with_plugins(provider: Provider, *plugins: ProxyPlugin) -> RunningProxy:
    upstreams = {name: {"url": provider.url} for name in ("openai", "anthropic")}
    return RunningProxy(upstreams=upstreams, plugins=[one.model_dump() for one in plugins])


# --------------------------------------------------------------------------- filters


def test_filtered_paths_are_relayed_and_not_recorded(provider: Provider) -> None:
    one = plugin("path-filter", paths=["*/embeddings", "/v1/x*"], projects=["noisy"])
    with with_plugins(provider, one) as proxy:
        for project in ("noisy", "calm"):
            headers = {"x-loop-project": project}
            body = {"model": "m", "input": "x"}
            assert (
                httpx.post(f"{proxy.url}/openai/v1/embeddings", json=body, headers=headers).status_code == 200
            )
        httpx.post(f"{proxy.url}/openai/v1/chat/completions", json=ASKED, headers={"x-loop-project": "noisy"})
        proxy.collected.wait(1, "chat")
        assert [span.project for span in proxy.collected.wait(1, "embeddings")] == ["calm"]
        assert len(provider.seen) == 3


# --------------------------------------------------------------------------- requests


def test_nothing_is_changed_unless_somebody_asks(proxy: RunningProxy, provider: Provider) -> None:
    body = b'{"model" : "m",  "messages": []}'
    httpx.post(f"{proxy.url}/openai/v1/chat/completions", content=body)
    assert provider.seen[0].body == body
    span = proxy.collected.wait(1, "chat")[0]
    assert "eddyline.proxy.mutations" not in attributes(span)


def test_a_request_is_changed_recorded_so_and_marked(provider: Provider) -> None:
    swap = plugin("text-replace", id="swap", find="cats", replace="dogs")
    add = plugin("text-append", id="brief", text=" Be brief.")
    idle = plugin("text-replace", id="idle", find="nowhere", replace="x")
    off = plugin("text-append", id="off", text="never", enabled=False)
    with with_plugins(provider, swap, add, idle, off) as proxy:
        client = sdks.openai.OpenAI(base_url=f"{proxy.url}/openai/v1", api_key="k")
        client.chat.completions.create(**ASKED)
        (seen,) = provider.seen
        assert seen.json["messages"][0]["content"] == "tell me of dogs Be brief."
        assert int(str(seen.header("content-length"))) == len(seen.body)
        span = proxy.collected.wait(1, "chat")[0]
        assert attributes(span)["eddyline.proxy.mutations"] == ["swap", "brief"]
        assert said(span, "gen_ai.input.messages")[0]["parts"][0]["content"] == "tell me of dogs Be brief."
        assert proxy.door.document()["plugins"] == {"source": "configuration", "changed": 1, "failed": 0}  # type: ignore[index]  # a document


@pytest.mark.parametrize(
    ("body", "to", "expected"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]}, "user",
         {"messages": [{"role": "user", "content": [{"type": "text", "text": "a!"}, {"type": "image"}]}]}),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "user",
         {"messages": [{"role": "user", "content": "a!"}, {"role": "assistant", "content": "b"}]}),
        ({"input": "a"}, "user", {"input": "a!"}),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]}, "user",
         {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a!"}]}]}),
        ({"contents": [{"role": "user", "parts": [{"text": "a"}]}]}, "user",
         {"contents": [{"role": "user", "parts": [{"text": "a!"}]}]}),
        ({"prompt": "a"}, "user", {"prompt": "a!"}),
        ({"system": "a"}, "system", {"system": "a!"}),
        ({"system": [{"type": "text", "text": "a"}]}, "system", {"system": [{"type": "text", "text": "a!"}]}),
        ({"instructions": "a"}, "system", {"instructions": "a!"}),
        ({"systemInstruction": {"parts": [{"text": "a"}]}}, "system",
         {"systemInstruction": {"parts": [{"text": "a!"}]}}),
        ({"messages": [{"role": "developer", "content": "a"}]}, "system",
         {"messages": [{"role": "developer", "content": "a!"}]}),
        ({"messages": []}, "system", {"messages": []}),
    ],
)  # fmt: skip
def test_text_is_added_in_every_api(body: Any, to: Any, expected: Any) -> None:
    changed, used = changed_request(json.dumps(body).encode(), [plugin("text-append", text="!", to=to)])
    assert json.loads(changed) == expected
    assert used == (["p"] if body != expected else [])


def test_only_what_is_said_is_changed() -> None:
    body = {
        "model": "cats",
        "tools": [{"type": "function", "function": {"name": "cats", "description": "cats"}}],
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [{"id": "cats", "function": {"name": "cats", "arguments": '"cats"'}}],
            },
            {"role": "tool", "tool_call_id": "cats", "content": "cats"},
        ],
    }
    changed, _ = changed_request(
        json.dumps(body).encode(), [plugin("text-replace", find="cats", replace="dogs")]
    )
    found = json.loads(changed)
    assert found["messages"][1]["content"] == "dogs"
    assert json.dumps(found).count("cats") == 7


@pytest.mark.parametrize(
    "body",
    [b"no json cats", b'["cats"]', b"", gzip.compress(json.dumps(ASKED).encode())],
    ids=["no-json", "no-object", "empty", "gzip"],
)
def test_what_can_not_be_changed_passes(provider: Provider, body: bytes) -> None:
    with with_plugins(provider, plugin("text-replace", find="cats", replace="dogs")) as proxy:
        headers = {"content-encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
        httpx.post(f"{proxy.url}/openai/v1/chat/completions", content=body, headers=headers)
        assert provider.seen[0].body == body


def test_a_request_that_is_too_long_to_be_held_passes(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.proxy.changing.MAX_REQUEST", 100_000)
    body = json.dumps({**ASKED, "messages": [{"role": "user", "content": "cats " * 60_000}]}).encode()
    with with_plugins(provider, plugin("text-replace", find="cats", replace="dogs")) as proxy:
        httpx.post(f"{proxy.url}/openai/v1/chat/completions", content=body)
        assert provider.seen[0].body == body


# --------------------------------------------------------------------------- answers

WORD = TEXT.split()[0]
SHOUT = plugin("text-replace", where="response", find=WORD[:3], replace="<>")


def test_an_answer_is_changed_for_sdks(provider: Provider) -> None:
    with with_plugins(provider, SHOUT) as proxy:
        client = sdks.openai.OpenAI(base_url=f"{proxy.url}/openai/v1", api_key="k")
        expected = TEXT.replace(WORD[:3], "<>")
        assert client.chat.completions.create(**ASKED).choices[0].message.content == expected
        text = "".join(
            choice.delta.content or ""
            for chunk in client.chat.completions.create(**STREAMED)
            for choice in chunk.choices
        )
        assert text == expected
        other = sdks.anthropic.Anthropic(base_url=f"{proxy.url}/anthropic", api_key="k")
        with other.messages.stream(model="m", max_tokens=9, messages=ASKED["messages"]) as stream:
            assert stream.get_final_text() == expected
        assert {seen.header("accept-encoding") for seen in provider.seen} == {"identity"}
        for span in proxy.collected.wait(3, "chat"):
            assert said(span)[0]["parts"][0]["content"] == expected
            assert attributes(span)["eddyline.proxy.mutations"] == ["p"]


@pytest.mark.parametrize("stream", [chat_stream, messages_stream, responses_stream])
def test_events_without_the_text_pass_byte_for_byte_wherever_they_are_cut(stream: Any) -> None:
    whole = b"".join(stream({"model": "m"}))
    for step in (1, 7, 100):
        answer = ChangedAnswer(
            AnswerChanges([plugin("text-replace", find="zzz", replace="y")], []), "text/event-stream"
        )
        assert b"".join([*map(answer.feed, cut(whole, [*range(0, len(whole), step)])), answer.end()]) == whole


def test_a_piece_is_sent_on_as_soon_as_its_event_is_whole() -> None:
    answer = ChangedAnswer(AnswerChanges([SHOUT], []), "text/event-stream")
    assert answer.feed(b'data: {"content":"') == b""
    assert answer.feed(f'{WORD}"}}\n\nda'.encode()).startswith(b'data: {"content":"<>')
    assert answer.end() == b"da"


def test_errors_and_packed_answers_pass(provider: Provider) -> None:
    with with_plugins(provider, SHOUT) as proxy:
        packed = gzip.compress(json.dumps({"content": WORD}).encode())
        headers = [("content-type", "application/json"), ("content-encoding", "gzip")]
        provider.script += [
            Answer.json({"error": {"message": WORD}}, 400),
            Answer([packed], 200, headers, length=True),
        ]
        url = f"{proxy.url}/openai/v1/chat/completions"
        assert httpx.post(url, json=ASKED).json()["error"]["message"] == WORD
        assert httpx.post(url, json=ASKED).json()["content"] == WORD


# --------------------------------------------------------------------------- what they may be


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([{"id": "a", "type": "text-shout"}], "0.type"),
        ([{"id": "a", "type": "text-replace"}], "needs find"),
        ([{"id": "a", "type": "text-append", "text": "x", "where": "response"}], "requests only"),
        ([{"id": "a", "type": "path-filter"}], "needs paths"),
        ([{"id": "A b", "type": "path-filter", "paths": ["x"]}], "0.id"),
        ([{"id": "a", "type": "path-filter", "paths": ["x"], "colour": 1}], "colour"),
        ([{"id": "a", "type": "path-filter", "paths": ["x"]}] * 2, "two plugins"),
        ({}, "list"),
    ],
)
def test_what_is_no_plugin_is_refused(given: Any, why: str) -> None:
    with pytest.raises(PluginError, match=why):
        read_plugins(given)


# --------------------------------------------------------------------------- at run time


def put(server: Server, path: str, body: Any) -> httpx.Response:
    return server.api.put(f"/api/v1/proxy/plugins{path}", json=body)


def test_plugins_are_changed_at_run_time_and_kept(data_dir: Path, provider: Provider, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("proxy: {plugins: [{id: given, type: text-append, text: ' given'}]}")
    server = Server(data_dir, "--config", str(config)).start()

    def sent() -> str:
        url = f"{server.endpoints['proxy']}/openai/http/127.0.0.1:{provider.port}/v1/chat/completions"
        httpx.post(url, json=ASKED)
        content: str = provider.seen[-1].json["messages"][0]["content"]
        return content.removeprefix("tell me of ")

    assert sent() == "cats given"
    assert server.get("/proxy/plugins")["meta"] == {"source": "configuration"}
    assert (
        put(server, "/swap", {"type": "text-replace", "find": "cats", "replace": "dogs"}).status_code == 200
    )
    assert sent() == "dogs given"
    assert (
        put(server, "/swap", {"type": "text-replace", "find": "cats", "replace": "owls"}).json()["replace"]
        == "owls"
    )
    assert [one["id"] for one in server.get("/proxy/plugins")["data"]] == ["given", "swap"]
    assert put(server, "/bad", {"type": "text-replace"}).json()["type"].endswith("invalid-plugin")
    assert put(server, "/bad", {"id": "x", "type": "path-filter", "paths": ["x"]}).status_code == 400
    made = server.api.post("/api/v1/tokens", json={"name": "reader", "scopes": ["read", "content"]}).json()
    reader = {"Authorization": f"Bearer {made['token']}"}
    assert server.api.put("/api/v1/proxy/plugins", json={"plugins": []}, headers=reader).status_code == 403
    assert server.stop() == 0

    server = Server(data_dir, "--config", str(config)).start()
    assert sent() == "owls given"
    assert server.get("/proxy/plugins")["meta"] == {"source": "runtime"}
    assert server.api.delete("/api/v1/proxy/plugins/given").status_code == 200
    assert sent() == "owls"
    assert server.api.delete("/api/v1/proxy/plugins/given").status_code == 404
    assert put(server, "", {"plugins": []}).json()["data"] == []
    assert sent() == "cats"
    assert server.api.delete("/api/v1/proxy/plugins").json()["meta"] == {"source": "configuration"}
    assert sent() == "cats given"
    kinds = {one["type"] for one in server.get("/proxy/plugins/types")["data"]}
    assert kinds == {"path-filter", "text-replace", "text-append"}
    until(
        lambda: [one["mutations"] for one in server.get("/exchanges")["data"]][:1] == [["given"]],
        every_s=0.05,
    )
    assert server.stop() == 0


# --------------------------------------------------------------------------- observers


def test_observers_are_told_and_a_failing_one_costs_nobody(provider: Provider) -> None:
    heard: list[Observed] = []

    def broken(observed: Observed) -> None:
        raise RuntimeError("no")

    collected = Collected()
    recorder = ExchangeRecorder(
        ProxyCapture(),
        RetryingOutlet(collected.take),
        b"salt",
        observers=Observers({"broken": broken, "heard": heard.append}),
    )
    with RunningProxy(recorder, upstreams={"openai": {"url": provider.url}}) as proxy:
        assert isinstance(proxy.door, ProxyDoor)
        httpx.post(f"{proxy.url}/openai/v1/chat/completions", json=ASKED)
        httpx.post(f"{proxy.url}/openai/v1/chat/completions", json=ASKED, headers={"x-loop-capture": "meta"})
        collected.wait(2, "chat")
    assert [(one.upstream, one.model, one.status, one.outcome) for one in heard] == [
        ("openai", "gpt-4o-mini", 200, "complete")
    ] * 2
    assert heard[0].output[0]["parts"][0]["content"] == TEXT
    assert (heard[1].input, heard[1].output) == ((), ())
    assert recorder.document()["observers"] == {"broken": 2}


def test_configured_plugins_hold_until_others_are_set() -> None:
    plugins = Plugins([plugin("text-append", text="x")])
    assert plugins.changes("/v1/x", "p") is not None
    plugins.set([])
    assert plugins.changes("/v1/x", "p") is None
    plugins.set(None)
    assert plugins.changes("/v1/x", "p") is not None
