"""What a provider gets and what a client gets is what they would have got without us."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import brotli
import httpx
import pytest
import zstandard

from collector.config import ProxySettings
from collector.doors.listening import ListenError
from collector.proxy.door import ProxyDoor
from collector.proxy.recorder import RetryingOutlet
from tests.collector.proxy.running import RunningProxy
from tests.provider import CUT, HANG_UP, Answer, Provider, event
from tests.waiting import PATIENCE_S, until

WITHOUT_END = 1000
"""Pieces of an answer that nobody will see the end of."""
HOP = {"host", "connection", "transfer-encoding", "keep-alive", "te", "trailer", "upgrade", "expect"}


def end_to_end(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers if name.lower() not in HOP]


def raw(url: str, request: bytes, *, wait: float = 5.0, close_write: bool = False) -> bytes:
    """Sends bytes as they are and reads until the other side closes or is silent for too long."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(request)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except TimeoutError:
            pass
        return received


REQUESTS: list[dict[str, Any]] = [
    {"method": "POST", "path": "/v1/chat/completions", "json": {"model": "m", "messages": []}},
    {"method": "POST", "path": "/v1/chat/completions", "json": {"model": "m", "stream": True}},
    {"method": "POST", "path": "/v1/unheard-of?a=1&a=2&q=%2F%20+;x", "content": b"\x00\xff not json"},
    {"method": "GET", "path": "/v1/models"},
    {"method": "HEAD", "path": "/v1/models"},
    {"method": "DELETE", "path": "/v1/files/a%2Fb"},
    {"method": "OPTIONS", "path": "/v1/models"},
    {"method": "PUT", "path": "/v1//x/%2e%2E/%C3%A9;p=1", "content": b"x"},
    {"method": "POST", "path": "/v1/empty", "content": b""},
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"{r['method']} {r['path']}")
def test_requests_and_answers_are_the_same_through_the_proxy(
    proxy: RunningProxy, provider: Provider, request_: dict[str, Any]
) -> None:
    path = request_["path"]
    arguments = {name: value for name, value in request_.items() if name != "path"}
    headers = [
        ("x-custom", "ä".encode()),
        ("x-twice", "1"),
        ("x-twice", "2"),
        ("authorization", "Bearer sk-1"),
        ("via", "1.1 gw"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
    ]
    with httpx.Client() as client:
        direct = client.request(**arguments, url=_exactly(provider.url, path), headers=headers)
        through = client.request(**arguments, url=_exactly(f"{proxy.url}/openai", path), headers=headers)
    plain, proxied = provider.seen
    assert proxied.method == plain.method
    assert proxied.target == plain.target == path
    assert proxied.body == plain.body
    assert end_to_end(proxied.headers) == end_to_end(plain.headers)
    assert through.status_code == direct.status_code
    assert through.content == direct.content
    ours = {"x-loop-span-id", "x-loop-trace-id"}
    given = [(name, value) for name, value in through.headers.multi_items() if name not in ours]
    assert end_to_end(given) == end_to_end(direct.headers.multi_items())


def _exactly(base: str, path: str) -> httpx.URL:
    """httpx tidies paths; this one goes out as it is written."""
    url = httpx.URL(base)
    return url.copy_with(raw_path=(url.raw_path.rstrip(b"/") + path.encode()))


def test_dots_in_a_path_are_left_to_the_provider(proxy: RunningProxy, provider: Provider) -> None:
    raw(proxy.url, b"GET /openai/v1/../a/./b?c HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    assert provider.seen[0].target == "/v1/../a/./b?c"


def test_our_headers_are_not_forwarded(proxy: RunningProxy, provider: Provider) -> None:
    headers = {
        "X-Loop-Project": "p",
        "X-Loop-TraceID": "t",
        "X-Eddyline-Session": "s",
        "Helicone-Session-Id": "s",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    httpx.post(f"{proxy.url}/openai/v1/chat/completions", json={}, headers=headers)
    names = {name.lower() for name, _ in provider.seen[0].headers}
    assert not any(
        name.startswith(("x-loop", "x-eddyline", "helicone", "via", "forwarded", "x-forwarded"))
        for name in names
    )
    assert "traceparent" in names


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
PROPAGATIONS: dict[str, tuple[dict[str, str], str]] = {
    "passthrough": ({"traceparent": PARENT, "tracestate": "a=b"}, f"{PARENT} a=b"),
    "strip": ({"traceparent": PARENT, "tracestate": "a=b"}, "None None"),
    "inject": (
        {"traceparent": PARENT, "tracestate": "a=b"},
        "00-0af7651916cd43dd8448eb211c80319c-SPAN-01 a=b",
    ),
    "inject a trace of ours": (
        {"X-Loop-TraceID": "1" * 32, "traceparent": PARENT, "tracestate": "a=b"},
        f"00-{'1' * 32}-SPAN-01 None",
    ),
    "inject nothing": ({}, "None None"),
}


@pytest.fixture(scope="module")
def propagating(_provider: Provider) -> Iterator[RunningProxy]:
    """With an upstream for each way, and what is off unless it is asked for."""
    ways = ("passthrough", "strip", "inject")
    upstreams = {way: {"url": _provider.url, "propagation": way} for way in ways}
    with RunningProxy(upstreams=upstreams, sse_hints=True, response_headers=False) as running:
        yield running


@pytest.mark.parametrize("name", PROPAGATIONS)
def test_the_trace_context_goes_on_as_configured(
    propagating: RunningProxy, provider: Provider, name: str
) -> None:
    headers, expected = PROPAGATIONS[name]
    propagating.collected.clear()
    url = f"{propagating.url}/{name.partition(' ')[0]}/v1/chat/completions"
    httpx.post(url, json={"model": "m", "messages": [{"role": "user", "content": name}]}, headers=headers)
    (span,) = propagating.collected.wait(1, "chat")
    seen = provider.seen[0]
    told = f"{seen.header('traceparent')} {seen.header('tracestate')}"
    assert told.replace(span.span_id, "SPAN") == expected


def test_only_streams_have_a_hint_for_nginx_and_our_ids_can_be_left_out(
    propagating: RunningProxy, provider: Provider
) -> None:
    answers = [
        httpx.post(f"{propagating.url}/strip/v1/chat/completions", json={"model": "m", "stream": stream})
        for stream in (True, False)
    ]
    assert [answer.headers.get("x-accel-buffering") for answer in answers] == ["no", None]
    assert not any(name.startswith("x-loop-") for answer in answers for name in answer.headers)


def test_headers_named_by_connection_stay_here(proxy: RunningProxy, provider: Provider) -> None:
    httpx.post(
        f"{proxy.url}/openai/v1/x", headers={"X-Mine": "1", "Connection": "close, x-mine", "TE": "gzip"}
    )
    assert {"x-mine", "te"}.isdisjoint(name.lower() for name, _ in provider.seen[0].headers)


def test_connection_can_not_name_what_says_where_a_body_ends(proxy: RunningProxy, provider: Provider) -> None:
    """Else the body would be the next request on a connection that others use."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    for body in (smuggled, smuggled + b"x" * 300_000):
        httpx.post(f"{proxy.url}/openai/v1/x", content=body, headers={"Connection": "close, content-length"})
        httpx.get(f"{proxy.url}/openai/v1/models")
    assert [(seen.method, len(seen.body)) for seen in provider.seen] == [
        ("POST", len(smuggled)),
        ("GET", 0),
        ("POST", len(smuggled) + 300_000),
        ("GET", 0),
    ]


@pytest.mark.parametrize(
    ("asked", "forwarded"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
        ("gzip;q=0.5,  deflate", "gzip;q=0.5,  deflate"),
        ("gzip, snappy, br;q=0.1", "gzip, br;q=0.1"),
        ("snappy", "identity"),
        ("*", "identity"),
    ],
)
def test_only_codings_that_we_can_read_are_asked_for(
    proxy: RunningProxy, provider: Provider, asked: str, forwarded: str
) -> None:
    httpx.get(f"{proxy.url}/openai/v1/models", headers={"Accept-Encoding": asked})
    assert provider.seen[0].header("accept-encoding") == forwarded


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("coding", CODINGS)
def test_bodies_stay_encoded(proxy: RunningProxy, provider: Provider, coding: str) -> None:
    encoded = CODINGS[coding](b'{"a":1}' * 100)
    provider.script.append(
        Answer(
            [encoded], 200, [("content-encoding", coding), ("content-type", "application/json")], length=True
        )
    )
    with httpx.stream("GET", f"{proxy.url}/openai/v1/x") as response:
        assert b"".join(response.iter_raw()) == encoded
        assert response.headers["content-encoding"] == coding
        assert response.headers["content-length"] == str(len(encoded))


def test_response_headers_keep_their_order_and_their_duplicates(
    proxy: RunningProxy, provider: Provider
) -> None:
    headers = [
        ("set-cookie", "a=1"),
        ("x-b", "2"),
        ("set-cookie", "c=3"),
        ("date", "Mon, 1 Jan"),
        ("server", "s"),
    ]
    provider.script.append(Answer([b"{}"], 200, headers, length=True))
    response = httpx.get(f"{proxy.url}/openai/v1/x")
    assert [item for item in response.headers.multi_items() if item[0] != "content-length"] == headers


def test_a_cookie_of_one_caller_is_not_given_to_the_next(proxy: RunningProxy, provider: Provider) -> None:
    provider.script.append(Answer([b"{}"], 200, [("set-cookie", "__cf_bm=1; Path=/")], length=True))
    for _ in range(2):
        httpx.get(f"{proxy.url}/openai/v1/x")
    assert provider.seen[1].header("cookie") is None


@pytest.mark.parametrize("status", [301, 307, 400, 401, 429, 500, 529])
def test_redirects_and_errors_are_passed_on(proxy: RunningProxy, provider: Provider, status: int) -> None:
    provider.script.append(
        Answer.json({"error": 1}, status, location="http://127.0.0.1:1/", retry_after_ms="20")
    )
    response = httpx.post(f"{proxy.url}/openai/v1/x", content=b"a")
    assert (response.status_code, response.content) == (status, b'{"error": 1}')
    assert response.headers["retry-after-ms"] == "20"
    assert "x-loop-error" not in response.headers
    assert len(provider.seen) == 1


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(proxy: RunningProxy, provider: Provider, status: int) -> None:
    provider.script.append(Answer([], status, [("x-a", "b")]))
    response = httpx.get(f"{proxy.url}/openai/v1/x")
    assert (response.status_code, response.content, response.headers["x-a"]) == (status, b"", "b")


def test_each_event_is_passed_on_when_it_comes(proxy: RunningProxy, provider: Provider) -> None:
    events = [event({"n": number}) for number in range(5)]
    provider.script.append(Answer.sse([piece for one in events for piece in (one, 0.05)]))
    arrivals = []
    with httpx.stream("POST", f"{proxy.url}/openai/v1/chat/completions", content=b"{}") as response:
        for piece in response.iter_raw():
            arrivals.append((time.monotonic(), piece))
    assert b"".join(piece for _, piece in arrivals) == b"".join(events)
    assert len(arrivals) >= 3  # a busy machine may read two at once
    assert arrivals[-1][0] - arrivals[0][0] > 0.15


def test_a_body_in_chunks_goes_on_in_chunks_while_it_comes(proxy: RunningProxy, provider: Provider) -> None:
    first_sent = threading.Event()

    def pieces() -> Any:
        yield b"a" * 1000
        first_sent.set()
        yield b"b" * 300_000

    httpx.post(f"{proxy.url}/openai/v1/x", content=pieces())
    seen = provider.seen[0]
    assert seen.header("content-length") is None
    assert seen.header("transfer-encoding") == "chunked"
    assert seen.body == b"a" * 1000 + b"b" * 300_000


def test_large_bodies_pass_both_ways(proxy: RunningProxy, provider: Provider) -> None:
    body = bytes(range(256)) * 40_000
    provider.script.append(Answer([body], 200, [("content-type", "audio/mpeg")], length=True))
    response = httpx.post(f"{proxy.url}/openai/v1/audio/speech", content=body)
    assert hashlib.sha256(response.content).digest() == hashlib.sha256(body).digest()
    assert provider.seen[0].body == body
    assert provider.seen[0].header("content-length") == str(len(body))


def test_expect_continue_is_answered_here(proxy: RunningProxy, provider: Provider) -> None:
    request = (
        b"POST /openai/v1/x HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 3\r\n"
        b"connection: close\r\n\r\nabc"
    )
    answer = raw(proxy.url, request)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    assert provider.seen[0].body == b"abc"
    assert provider.seen[0].header("expect") is None


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
def test_an_http_1_0_client_gets_no_chunks_and_each_event_when_it_comes(
    proxy: RunningProxy, provider: Provider, method: bytes, is_cut: bool
) -> None:
    """As nginx is one, unless it is told otherwise."""
    provider.script.append(Answer.sse([b"data: 1\n\n", 1.0, CUT if is_cut else b"data: 2\n\n"]))
    address = urlsplit(proxy.url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S) as client:
        client.sendall(method + b" /openai/v1/x HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}")
        began = time.monotonic()
        received = b""
        while b"data: 1\n\n" not in received:
            received += client.recv(65536)
        assert time.monotonic() - began < 1
        if is_cut:  # one that is closed has sent all
            with pytest.raises(ConnectionResetError):
                client.recv(65536)
            return
        while piece := client.recv(65536):
            received += piece
    head, body = received.split(b"\r\n\r\n", 1)
    assert b"transfer-encoding" not in head
    assert body == b"data: 1\n\ndata: 2\n\n"


def test_pipelined_requests_are_answered_in_order(proxy: RunningProxy, provider: Provider) -> None:
    one = b"GET /openai/v1/%b HTTP/1.1\r\nhost: localhost\r\n%b\r\n"
    answers = raw(proxy.url, one % (b"a", b"") + one % (b"b", b"connection: close\r\n"))
    assert answers.index(b'"/v1/a"') < answers.index(b'"/v1/b"')


def test_headers_may_be_long(proxy: RunningProxy, provider: Provider) -> None:
    provider.script.append(Answer([b"{}"], 200, [("x-long", "v" * 30_000)], length=True))
    response = httpx.get(f"{proxy.url}/openai/v1/x", headers={"x-long": "w" * 30_000})
    assert response.headers["x-long"] == "v" * 30_000
    assert provider.seen[0].header("x-long") == "w" * 30_000


# --------------------------------------------------------------------------- who hangs up


def test_an_answer_that_is_cut_is_cut_for_the_client(proxy: RunningProxy, provider: Provider) -> None:
    provider.script.append(Answer.sse([b"data: 1\n\n", 0.05, CUT]))
    with httpx.stream("POST", f"{proxy.url}/openai/v1/chat/completions", content=b"{}") as response:
        pieces = response.iter_raw()
        assert next(pieces) == b"data: 1\n\n"
        with pytest.raises(httpx.RemoteProtocolError):
            next(pieces)


def test_a_client_that_hangs_up_ends_the_providers_work(proxy: RunningProxy, provider: Provider) -> None:
    provider.script.append(Answer.sse([b"data: 1\n\n", 0.05] * WITHOUT_END))
    with httpx.stream("POST", f"{proxy.url}/openai/v1/chat/completions", content=b"{}") as response:
        next(response.iter_raw())
    until(lambda: provider.resets == 1)


def test_a_client_that_hangs_up_before_the_answer_ends_the_request(
    proxy: RunningProxy, provider: Provider
) -> None:
    provider.script.append(Answer.sse([0.05] * WITHOUT_END))
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"POST /openai/v1/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}")
        until(lambda: provider.seen)
    until(lambda: provider.resets == 1)


def test_a_provider_that_is_away_is_a_502_of_ours(provider: Provider) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens, and while it is bound nobody else can
        port = closed.getsockname()[1]
        with RunningProxy(upstreams={"anthropic": {"url": f"http://127.0.0.1:{port}"}}) as proxy:
            response = httpx.post(f"{proxy.url}/anthropic/v1/messages", json={})
            assert (response.status_code, response.headers["x-loop-error"]) == (502, "connect")
            assert response.json()["error"]["type"] == "proxy_error"
            assert response.json()["type"] == "error"
            assert str(port) not in response.text


def test_a_provider_that_is_silent_is_a_504_of_ours(provider: Provider) -> None:
    provider.script.append(Answer([0.6, b"{}"], length=False))
    timeouts = {"connect": 30, "first_byte": 0.2, "idle": 0.2}
    with RunningProxy(upstreams={"openai": {"url": provider.url}}, timeouts=timeouts) as proxy:
        provider.script[:] = [lambda seen: (time.sleep(0.5), Answer.json({}))[1]]
        response = httpx.post(f"{proxy.url}/openai/v1/x", json={})
        assert (response.status_code, response.headers["x-loop-error"]) == (504, "timeout")
        assert response.json()["error"]["code"] == "timeout"


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
def test_nothing_is_tried_twice(provider: Provider, proxy: RunningProxy, method: str) -> None:
    """Not even on a connection that was used before: the provider has the request."""
    provider.script += [Answer.json({}), HANG_UP]
    answers = [httpx.request(method, f"{proxy.url}/openai/v1/x", content=b"{}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 502]
    assert len(provider.seen) == 2


# --------------------------------------------------------------------------- ours


def test_what_comes_in_below_otel_is_received_as_otlp(proxy: RunningProxy) -> None:
    assert httpx.post(f"{proxy.url}/otel/v1/traces", content=b"spans").status_code == 200
    assert proxy.otlp[-1] == ("/otel/v1/traces", b"spans")


def test_the_root_says_what_is_here(proxy: RunningProxy) -> None:
    document = httpx.get(proxy.url).json()
    assert document["name"] == "eddyline proxy"
    assert {"/openai", "/anthropic", "/azure/{resource}", "/otel/v1/traces"} <= set(document["routes"])
    assert httpx.get(f"{proxy.url}/-/healthz").status_code == 200


def test_in_transparent_mode_every_path_is_the_upstreams(provider: Provider) -> None:
    with RunningProxy(upstream=provider.url + "/gateway") as proxy:
        for path in ("/", "/v1/messages", "/openai/v1/x"):
            httpx.get(proxy.url + path)
        assert [seen.target for seen in provider.seen] == [
            "/gateway/",
            "/gateway/v1/messages",
            "/gateway/openai/v1/x",
        ]
        assert httpx.get(f"{proxy.url}/-/healthz").json() == {"status": "ok"}


def test_a_second_collector_goes_without_a_proxy_unless_one_was_asked_for() -> None:
    """The default port is nobody's wish; a port that is configured is."""

    async def open_on(settings: ProxySettings) -> str | None:
        async with AsyncExitStack() as parts:
            door = ProxyDoor(settings, RetryingOutlet(lambda *_: None), b"salt")
            return await door.open(otlp=None, ready=lambda: True, own_ports=set(), parts=parts)  # type: ignore[arg-type]  # no OTLP here

    with socket.socket() as first:
        with contextlib.suppress(OSError):  # or somebody else has it already
            first.bind(("127.0.0.1", 31300))
            first.listen()
        assert asyncio.run(open_on(ProxySettings())) is None
        with pytest.raises(ListenError):
            asyncio.run(open_on(ProxySettings(endpoint="127.0.0.1:31300")))
