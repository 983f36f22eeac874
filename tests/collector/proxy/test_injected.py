"""A provider's key that only the proxy has: it reaches the provider, for who has a key of ours, and nobody else."""

from __future__ import annotations

import asyncio
import base64
import gzip
import html
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import brotli
import httpx
import pytest
import websockets
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from yarl import URL

from collector.config import ProxySettings
from collector.doors.gate import Gate
from collector.doors.keys import Keys, Scope, keys_file
from collector.proxy.injected import Injected
from tests.collector.proxy import sdks
from tests.collector.proxy.collected import attributes
from tests.collector.proxy.running import RunningProxy
from tests.provider import TEXT, Answer, Piece, Provider, Seen, chat, event
from tests.server import Server
from tests.waiting import until

KEY = "upstream-canary-5f0c2a91"
"""Looks like no key of any provider: what hides those does not help here."""
HIDDEN = "*" * len(KEY)
ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
CHAT = "/openai/v1/chat/completions"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(keys_file(tmp_path_factory.mktemp("keys")))


@pytest.fixture(scope="module")
def ours(kept: Keys) -> dict[str, str]:
    return {"X-Loop-Key": kept.create("sender", [Scope.INGEST])[1]}


@pytest.fixture(scope="module")
def proxy(_provider: Provider, kept: Keys) -> Iterator[RunningProxy]:
    """On this machine only, where nobody needs a key for anything else."""
    upstreams: dict[str, dict[str, str]] = {
        name: {"url": _provider.url, "inject_key": KEY} for name in ("openai", "anthropic", "gemini", "corp")
    }
    upstreams["azurely"] = {"url": _provider.url, "inject_key": KEY, "provider": "azure.ai.openai"}
    upstreams["plain"] = {"url": _provider.url}
    with RunningProxy(
        keys=Gate(kept, token="the-api-token"), upstreams=upstreams, capture={"named_keys": {"shared": KEY}}
    ) as running:
        yield running


def credentials(seen: Seen) -> dict[str, str]:
    """All in a request that may be a key."""
    names = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-loop-key")
    return {name.lower(): value for name, value in seen.headers if name.lower() in names}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer sk-the-providers-own"},
        {"x-loop-key": "guess"},
        {"x-loop-key": "edl_00000000_guess"},
        {"x-loop-key": KEY},
        {"authorization": "Bearer the-api-token"},
    ],
    ids=["nothing", "provider's", "guess", "guess like ours", "the key itself", "not meant for us"],
)
def test_who_has_no_key_of_ours_reaches_nobody(
    proxy: RunningProxy, provider: Provider, headers: dict[str, str]
) -> None:
    refused = httpx.post(proxy.url + CHAT, json=ASKED, headers=headers)
    assert (refused.status_code, refused.headers["x-loop-error"]) == (401, "key")
    assert KEY not in refused.text
    assert provider.seen == []
    assert httpx.post(proxy.url + CHAT.replace("openai", "plain", 1), json=ASKED).status_code == 200


def test_where_keys_are_not_asked_for_at_all_the_key_stays_here(provider: Provider, kept: Keys) -> None:
    upstreams = {"openai": {"url": provider.url, "inject_key": KEY}}
    for keys in (None, Gate(None), Gate(kept)):
        with RunningProxy(keys=keys, upstreams=upstreams) as running:
            assert httpx.post(running.url + CHAT, json=ASKED).status_code == 401
    assert provider.seen == []


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        (CHAT, {}, {"authorization": f"Bearer {KEY}"}),
        (CHAT, {"authorization": "Bearer unused"}, {"authorization": f"Bearer {KEY}"}),
        ("/anthropic/v1/messages", {}, {"x-api-key": KEY}),
        ("/anthropic/v1/messages", {"authorization": "Bearer oauth"}, {"x-api-key": KEY}),
        ("/anthropic/v1/chat/completions", {"authorization": "Bearer x"}, {"authorization": f"Bearer {KEY}"}),
        ("/gemini/v1beta/models/g:generateContent", {}, {"x-goog-api-key": KEY}),
        ("/gemini/v1beta/models/g:generateContent?alt=json&key=AIza", {}, {"x-goog-api-key": KEY}),
        ("/gemini/v1beta/openai/chat/completions", {}, {"authorization": f"Bearer {KEY}"}),
        ("/corp/v1/messages", {"x-api-key": "unused", "authorization": "Bearer y"}, {"x-api-key": KEY}),
        ("/azurely/openai/v1/chat/completions", {}, {"api-key": KEY}),
    ],
)
def test_the_key_stands_where_the_provider_looks_for_it_and_no_other_does(
    proxy: RunningProxy,
    provider: Provider,
    ours: dict[str, str],
    path: str,
    headers: dict[str, str],
    expected: dict[str, str],
) -> None:
    assert httpx.post(proxy.url + path, json=ASKED, headers=headers | ours).status_code == 200
    (seen,) = provider.seen
    assert credentials(seen) == expected
    assert "AIza" not in seen.target
    assert seen.target.partition("?")[2] in ("", "alt=json")


def test_sdks_need_no_provider_s_key(proxy: RunningProxy, provider: Provider, ours: dict[str, str]) -> None:
    openai = sdks.openai.OpenAI(base_url=f"{proxy.url}/openai/v1", api_key="unused", default_headers=ours)
    stream = openai.chat.completions.create(stream=True, **ASKED)
    said = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    below = f"{proxy.url}/k/{ours['X-Loop-Key']}/anthropic"
    anthropic = sdks.anthropic.Anthropic(base_url=below, api_key="unused")
    answer = anthropic.messages.create(max_tokens=5, **ASKED)
    assert said == answer.content[0].text == TEXT
    assert [credentials(seen) for seen in provider.seen] == [
        {"authorization": f"Bearer {KEY}"},
        {"x-api-key": KEY},
    ]


def test_calls_are_told_by_the_key_that_was_put_in(proxy: RunningProxy, ours: dict[str, str]) -> None:
    proxy.collected.clear()
    for placeholder in ("a", "b"):
        headers = ours | {"authorization": f"Bearer {placeholder}"}
        httpx.post(proxy.url + CHAT, json=ASKED, headers=headers)
    found = [attributes(span) for span in proxy.collected.wait(2, "chat")]
    assert {span["eddyline.key_name"] for span in found} == {"shared"}
    assert len({span["eddyline.key_hash"] for span in found}) == 1


# ------------------------------------------------------------------- what servers say of the key


def _echoing(seen: Seen) -> Answer:
    """As a server that shows what it was sent, in every place there is."""
    told = credentials(seen)["authorization"]
    document = chat({})
    document["choices"][0]["message"]["content"] = f"you sent {told}"
    return Answer.json(document, x_you_sent=told, x_request_id=told)


def _echoing_in_pieces(seen: Seen) -> Answer:
    told = credentials(seen)["authorization"]
    chunk = {"choices": [{"index": 0, "delta": {"content": f"{told} and {told}"}}]}
    whole = event(chunk) + event("[DONE]")
    return Answer.sse([bytes([byte]) for byte in whole])


def _echoing_an_error(seen: Seen) -> Answer:
    told = credentials(seen)["authorization"]
    return Answer.json({"error": {"type": "invalid_api_key", "message": f"Incorrect: {told}"}}, 401)


@pytest.mark.parametrize(
    "echo", [_echoing, _echoing_in_pieces, _echoing_an_error], ids=lambda echo: echo.__name__
)
def test_a_server_that_echoes_the_key_tells_it_to_nobody(
    proxy: RunningProxy, provider: Provider, ours: dict[str, str], echo: Any
) -> None:
    proxy.collected.clear()
    provider.script.append(echo)
    got = httpx.post(proxy.url + CHAT, json=ASKED, headers=ours | {"accept-encoding": "gzip, br"})
    assert provider.seen[0].header("accept-encoding") == "identity"
    assert KEY not in got.text + str(got.headers)
    assert f"Bearer {HIDDEN}" in got.text
    proxy.collected.wait(1, "chat")
    assert all(KEY.encode() not in body for _, body in proxy.collected.requests)
    for own in ("/-/status", "/-/metrics", "/"):
        assert KEY not in httpx.get(proxy.url + own).text


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_packed_unasked_is_looked_through_as_well(
    proxy: RunningProxy, provider: Provider, ours: dict[str, str], coding: str, stream: bool
) -> None:
    proxy.collected.clear()

    def packed(seen: Seen) -> Answer:
        echoed = _echoing_in_pieces(seen) if stream else _echoing(seen)
        whole = PACKED[coding](b"".join(piece for piece in echoed.pieces if isinstance(piece, bytes)))
        pieces: list[Piece] = [whole[:9], whole[9:]] if stream else [whole]
        kept = [pair for pair in echoed.headers if pair[0] != "content-length"]
        return Answer(pieces, 200, [*kept, ("Content-Encoding", coding)], length=not stream)

    provider.script.append(packed)
    got = httpx.post(proxy.url + CHAT, json=ASKED | {"stream": stream}, headers=ours)
    assert KEY not in got.text + str(got.headers)
    assert f"Bearer {HIDDEN}" in got.text
    assert "content-encoding" not in got.headers
    (span,) = proxy.collected.wait(1, "chat")
    assert HIDDEN in attributes(span)["gen_ai.output.messages"]


@pytest.mark.parametrize("coding", ["snappy", "gzip, gzip", "x"])
def test_an_answer_that_can_not_be_looked_through_is_none(
    proxy: RunningProxy, provider: Provider, ours: dict[str, str], coding: str
) -> None:
    provider.script.append(Answer.json(chat({}), content_encoding=coding))
    got = httpx.post(proxy.url + CHAT, json=ASKED, headers=ours)
    assert (got.status_code, got.headers["x-loop-error"]) == (502, "protocol")


@pytest.mark.parametrize(
    "wrong", [b"not packed at all", gzip.compress(b"hello" * 99)[:-9]], ids=["plain", "cut"]
)
def test_a_packed_answer_that_is_not_whole_is_no_short_one(
    proxy: RunningProxy, provider: Provider, ours: dict[str, str], wrong: bytes
) -> None:
    provider.script.append(Answer([wrong], 200, [("content-encoding", "gzip")], length=True))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(proxy.url + CHAT, json=ASKED, headers=ours)


ODD = 'odd/key+with="quotes"&more=='
"""Has letters that JSON, HTML and URLs write in other ways."""
WRITTEN: dict[str, Callable[[str], str]] = {
    "json": lambda told: json.dumps({"told": told}),
    "json, with slashes": lambda told: json.dumps({"told": told}).replace("/", "\\/"),
    "html": html.escape,
    "url": lambda told: quote(told, safe=""),
    "path": quote,
    "query": quote_plus,
    **{
        f"base64 after {len(before)}": lambda told, before=before: base64.b64encode(
            (before + told).encode()
        ).decode()
        for before in ("", "x", "xy", "Bearer ")
    },
    "base64 for urls": lambda told: base64.urlsafe_b64encode(f"{told}:".encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("key", [KEY, ODD, "~~~???>>>" * 3])
def test_a_key_is_hidden_in_whatever_way_it_is_written(name: str, key: str) -> None:
    written = f"before {WRITTEN[name](key)} after"
    hidden = Injected(key, "openai").hide(written.encode())
    assert Injected(key, "openai").hide_in_text(written) == hidden.decode()
    assert len(hidden) == len(written)
    left = hidden.decode().removeprefix("before ").removesuffix(" after")
    if name.startswith("base64"):
        alike = left.translate(str.maketrans("+/", "-_")).rstrip("=")
        told = base64.urlsafe_b64decode(alike + "=" * (-len(alike) % 4))
        assert told.count(b"*") >= len(key) - 2
    else:
        assert left.count("*") >= len(key)


@given(before=st.binary(max_size=40), after=st.binary(max_size=40), size=st.integers(1, 60))
def test_a_key_is_hidden_wherever_it_is_cut_and_nothing_else_is_touched(
    before: bytes, after: bytes, size: int
) -> None:
    whole = before + KEY.encode() + KEY[:7].encode() + KEY.encode() + after + KEY[:5].encode()
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]

    async def read() -> bytes:
        return pieces.pop(0) if pieces else b""

    async def gathered() -> bytes:
        hiding = Injected(KEY, "openai").hiding(read)
        found = b""
        while piece := await hiding():
            found += piece
        return found + await hiding()

    assert asyncio.run(gathered()) == whole.replace(KEY.encode(), HIDDEN.encode())


def test_only_what_may_be_the_key_waits_for_what_comes_next() -> None:
    pieces = [b"data: x\n\n", b"data: " + KEY[:3].encode(), b" no\n\n"]

    async def read() -> bytes:
        return pieces.pop(0) if pieces else b""

    async def each() -> list[bytes]:
        hiding = Injected(KEY, "openai").hiding(read)
        return [await hiding() for _ in range(3)]

    assert asyncio.run(each()) == [b"data: x\n\n", b"data: ", KEY[:3].encode() + b" no\n\n"]


def test_queries_lose_keys_and_nothing_else() -> None:
    for query, left in (
        ("key=a", ""),
        ("alt=sse&key=a&x=%2F+;y", "?alt=sse&x=%2F+;y"),
        ("KEY=a&access_token=b", ""),
        ("keys=a&monkey=b", "?keys=a&monkey=b"),
    ):
        url = Injected.without_placeholder(URL(f"https://h/p%2Fq?{query}", encoded=True))
        assert str(url) == f"https://h/p%2Fq{left}"


async def _show(connection: ServerConnection) -> None:
    assert connection.request is not None
    told = connection.request.headers["Authorization"]
    await connection.send(json.dumps({"type": "session.created", "told": told}))
    await connection.send(told.encode())
    await connection.close(4001, told)


def _refuse(connection: ServerConnection, request: Request) -> Response | None:
    if "refuse" not in request.path:
        return None
    told = request.headers["Authorization"]
    response = connection.respond(401, told)
    response.headers["X-Told"] = told
    return response


def test_a_websocket_gets_the_key_and_tells_it_to_nobody(kept: Keys, ours: dict[str, str]) -> None:
    async def run() -> None:
        seen: list[Any] = []

        async def show(connection: ServerConnection) -> None:
            seen.append(connection.request)
            await _show(connection)

        async with serve(
            show, "127.0.0.1", 0, process_request=_refuse, subprotocols=[websockets.Subprotocol("realtime")]
        ) as provider:
            port = provider.sockets[0].getsockname()[1]
            running = RunningProxy(
                keys=Gate(kept), upstreams={"openai": {"url": f"http://127.0.0.1:{port}", "inject_key": KEY}}
            )
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, running.__enter__)
            try:
                uri = running.url.replace("http", "ws", 1) + "/openai/v1/realtime"
                with pytest.raises(InvalidStatus) as without:
                    await websockets.connect(uri)
                assert without.value.response.status_code == 401
                assert seen == []
                protocols = [
                    websockets.Subprotocol(n) for n in ("realtime", "openai-insecure-api-key.unused")
                ]
                headers = ours | {"Authorization": "Bearer unused"}
                async with websockets.connect(
                    uri, additional_headers=headers, subprotocols=protocols
                ) as client:
                    received = [await client.recv(), await client.recv()]
                    with pytest.raises(ConnectionClosed):
                        await client.recv()
                assert received[1] == f"Bearer {HIDDEN}".encode()
                assert KEY not in f"{received} {client.close_reason}"
                assert client.close_reason == f"Bearer {HIDDEN}"
                assert seen[0].headers["Authorization"] == f"Bearer {KEY}"
                assert seen[0].headers["Sec-WebSocket-Protocol"] == "realtime"
                with pytest.raises(InvalidStatus) as refused:
                    await websockets.connect(uri + "?refuse", additional_headers=headers)
                response = refused.value.response
                assert KEY not in f"{response.headers} {response.body!r}"
                assert response.headers["X-Told"] == f"Bearer {HIDDEN}"
            finally:
                await loop.run_in_executor(None, running.__exit__)

    asyncio.run(run())


# ------------------------------------------------------------------- in the configuration, and in what is stored


@pytest.mark.parametrize("key", ["", "short", "with a space in it", "with-a-newline\nX-Evil: 1", "x" * 5000])
def test_what_can_be_no_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ProxySettings(upstreams={"openai": {"url": "https://api.openai.com", "inject_key": key}})  # type: ignore[dict-item]  # as from YAML
    (error,) = refused.value.errors(include_input=False, include_url=False)
    assert error["loc"] == ("upstreams", "openai", "inject_key")
    assert not key or key not in error["msg"]


def test_the_key_is_in_nothing_that_a_collector_keeps_or_says(tmp_path: Path, provider: Provider) -> None:
    file = tmp_path / "eddyline.yaml"
    wire = tmp_path / "wire.jsonl"
    file.write_text(
        f"proxy: {{upstreams: {{corp: {{url: '{provider.url}', inject_key: '${{env:CORP_KEY}}'}}}}}}\n"
        f"logging: {{capture_file: {wire}}}\n"
    )
    server = Server(tmp_path / "data", "--config", str(file), environ={"CORP_KEY": KEY}).start()
    try:
        url = server.endpoints["proxy"] + "/corp/v1/chat/completions"
        provider.script += [_echoing, _echoing_in_pieces, _echoing_an_error]
        headers = {"X-Loop-Key": "test-token", "X-Loop-Project": "corp"}
        for stream in (False, True, False):
            assert KEY not in httpx.post(url, json=ASKED | {"stream": stream}, headers=headers).text
        assert len(provider.seen) == 3
        assert {seen.header("authorization") for seen in provider.seen} == {f"Bearer {KEY}"}
        until(lambda: len(server.get("/exchanges", project="corp")["data"]) == 3)
        told = [server.api.get("/api/v1/exchanges/export").text, server.api.get("/api/v1/status").text]
        for run in server.runs(project="corp"):
            told.append(server.api.get(f"/api/v1/runs/{run['run_id']}/events?fields=io").text)
        assert HIDDEN in told[0]
    finally:
        server.stop()
    told += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert HIDDEN in wire.read_text()
    assert [text for text in told if KEY in text] == []
