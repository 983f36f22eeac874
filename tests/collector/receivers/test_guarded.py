"""Connections that mean no good, or do not know better: each is cut in time and costs the others nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from threading import Event

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from collector.doors.guarded import MOST_AHEAD, HeadLimits, guarded
from collector.intake.intake import Intake
from collector.receivers.http import BodyLimits, HttpReceiver
from tests.listening import serving
from tests.waiting import PATIENCE_S

LIMITS = HeadLimits(timeout_s=0.4, max_bytes=2000, max_headers=10, max_connections=20)
BODY = BodyLimits(max_bytes=100_000, idle_s=0.4, total_s=1.0)


def door_with(limits: HeadLimits) -> AbstractContextManager[str]:
    """A receiver without stores; gives its URL."""
    return serving(HttpReceiver(Intake({}), BODY), http=guarded(limits))


@pytest.fixture(scope="module")
def door() -> Iterator[str]:
    with door_with(LIMITS) as url:
        yield url


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        yield connection


def answered(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"POST /v1/tr", b"HTTP/1.1 408"),
        (HEAD + b"X-Slow: ", b"HTTP/1.1 408"),
        (HEAD + b"Content-Length: 50\r\n\r\nabc", b"HTTP/1.1 408"),
    ],
    ids=["silent", "in the request line", "in a header", "in the body"],
)
def test_T12_a_client_that_stops_sending_is_cut(door: str, sent: bytes, status: bytes) -> None:
    with connected(door) as connection:
        started = time.monotonic()
        connection.sendall(sent)
        assert answered(connection).startswith(status)
        assert time.monotonic() - started < PATIENCE_S


@pytest.mark.parametrize("part", ["head", "body"])
def test_T12_a_client_that_drips_is_cut(door: str, part: str) -> None:
    with connected(door) as connection:
        connection.sendall(HEAD + (b"X-Drip: " if part == "head" else b"Content-Length: 5000\r\n\r\n"))
        started = time.monotonic()
        try:
            while time.monotonic() - started < PATIENCE_S:
                connection.sendall(b"x")
                time.sleep(0.1)
            raise AssertionError("it was not cut")
        except OSError:
            pass


def test_T12_slow_clients_do_not_hold_up_a_healthy_one(door: str) -> None:
    slow = [socket.create_connection(("127.0.0.1", int(door.rpartition(":")[2]))) for _ in range(15)]
    try:
        for connection in slow:
            connection.sendall(b"POST /v1")
        response = httpx.post(f"{door}/v1/traces", headers={"Content-Type": "application/json"}, timeout=5)
        assert response.status_code == 200
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in parts"])
@pytest.mark.parametrize(
    ("over", "status"), [(0, b"HTTP/1.1 200"), (1, b"HTTP/1.1 431"), (100_000, b"HTTP/1.1 431")]
)
def test_a_head_larger_than_the_limit_is_refused(
    door: str, over: int, status: bytes, *, at_once: bool
) -> None:
    head = HEAD + b"Connection: close\r\nContent-Length: 0\r\nX-Large: "
    head += b"x" * (LIMITS.max_bytes + over - len(head) - 2) + b"\r\n"
    assert len(head) == LIMITS.max_bytes + over
    with connected(door) as connection:
        if at_once:
            connection.sendall(head + b"\r\n")
        else:
            connection.sendall(head + b"\r")
            time.sleep(0.05)
            with suppress(ConnectionError):  # it may be refused already
                connection.sendall(b"\n")
        assert answered(connection)[:12] in (status, b"" if over > 50_000 else status)


@pytest.mark.parametrize(("count", "status"), [(10, b"HTTP/1.1 200"), (11, b"HTTP/1.1 431")])
def test_headers_are_counted(door: str, count: int, status: bytes) -> None:
    own = 4
    more = b"".join(b"X-%d: x\r\n" % number for number in range(count - own))
    with connected(door) as connection:
        connection.sendall(HEAD + more + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        assert answered(connection).startswith(status)


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 0\r\nContent-Length: 0\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: -1\r\n",
        b"X-Folded: a\r\n b\r\nContent-Length: 0\r\n",
    ],
    ids=["twice", "length and chunks", "plus", "minus", "folded"],
)
def test_H18_ambiguous_framing_is_refused_and_closed(door: str, framing: bytes) -> None:
    with connected(door) as connection:
        connection.sendall(HEAD + framing + b"\r\n0\r\n\r\n")
        head, _, body = answered(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert json.loads(body)["code"] == 3  # a Status, like every refusal


def test_H17_the_body_is_asked_for_only_when_it_will_be_taken(door: str) -> None:
    with connected(door) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
    with connected(door) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n")
        assert answered(connection).startswith(b"HTTP/1.1 413")


def test_H15_a_body_that_is_refused_is_read_so_that_the_answer_arrives(door: str) -> None:
    with connected(door) as connection:
        connection.sendall(HEAD + b"Content-Length: 600000\r\n\r\n" + b"x" * 600_000)
        assert answered(connection).startswith(b"HTTP/1.1 413")


def test_H16_chunk_extensions_are_tolerated(door: str) -> None:
    with connected(door) as connection:
        connection.sendall(
            HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0;name=value\r\n\r\n"
        )
        assert answered(connection).startswith(b"HTTP/1.1 200")


def test_H20_requests_may_be_sent_ahead_and_over_http_1_0(door: str) -> None:
    with connected(door) as connection:
        one = HEAD + b"Content-Length: 0\r\n"
        connection.sendall(one + b"\r\n" + one + b"Connection: close\r\n\r\n")
        assert answered(connection).count(b"HTTP/1.1 200") == 2
    with connected(door) as connection:
        connection.sendall(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: 0\r\n\r\n")
        assert b" 200 " in answered(connection).splitlines()[0]


ONE = HEAD + b"Content-Length: 0\r\n\r\n"


def test_T12_requests_are_sent_ahead_without_end_in_vain(door: str) -> None:
    with connected(door) as connection:
        connection.sendall(ONE * MOST_AHEAD)
        assert take(connection, MOST_AHEAD) == MOST_AHEAD
        connection.sendall(ONE * (3 * MOST_AHEAD))
        answers = answered(connection)
    assert MOST_AHEAD < answers.count(b"HTTP/1.1 200") < 2 * MOST_AHEAD
    assert answers.endswith(b"\r\n\r\n"), "the last of them is whole"


def test_H20_a_body_that_is_sent_ahead_is_read_when_it_is_its_turn(door: str) -> None:
    body = b"\xba\x3e\x00" * 30_000  # unknown fields
    large = HEAD + b"Content-Length: 90000\r\nConnection: close\r\n\r\n" + body
    with connected(door) as connection:
        connection.sendall(ONE * 3 + large)
        assert answered(connection).count(b"HTTP/1.1 200") == 4


def take(connection: socket.socket, answers: int) -> int:
    """Reads so many answers; returns how many came."""
    read = b""
    while read.count(b"\r\n\r\n") < answers and (more := connection.recv(1 << 16)):
        read += more
    return read.count(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (ONE, 1),
        (ONE.replace(b"HTTP/1.1", b"HTTP/1.0"), 1),
        (ONE * 3, 3),
        (HEAD + b"Content-Length: 90000\r\n\r\n" + b"\xba\x3e\x00" * 30_000, 1),
        (HEAD + b"Content-Length: 50\r\n\r\nabc", 0),
        (ONE[:-10], 0),
    ],
    ids=["one", "HTTP/1.0", "sent ahead", "large", "in the body", "in a header"],
)
def test_a_client_that_sends_no_more_gets_the_answers_to_what_it_sent(sent: bytes, answers: int) -> None:
    with door_with(replace(LIMITS, timeout_s=2 * PATIENCE_S)) as door, connected(door) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = answered(connection)  # long before it would be cut
        assert received.count(b" 200 OK\r\n") == received.count(b"HTTP/1.1") == answers


@pytest.mark.parametrize("leaves", [False, True], ids=["waits", "is taken to leave"])
def test_a_client_that_only_listens_is_waited_for_unless_what_it_asked_for_costs_money(
    *, leaves: bool
) -> None:
    gone = Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        left = asyncio.ensure_future(receive())
        done, _ = await asyncio.wait([left], timeout=0.3)
        left.cancel()
        if done:
            gone.set()
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    door = guarded(LIMITS, end_is_leaving=leaves)
    with serving(slow, http=door) as url, connected(url) as connection:
        connection.sendall(ONE)
        connection.shutdown(socket.SHUT_WR)
        assert answered(connection).endswith(b"" if leaves else b"\r\n\r\nok")
        assert gone.wait(PATIENCE_S if leaves else 0) == leaves


def test_a_client_that_sends_no_more_ends_an_answer_without_end() -> None:
    ended = Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.set()

    with serving(endless, http=guarded(LIMITS)) as url, connected(url) as connection:
        connection.sendall(ONE)
        while b"first" not in connection.recv(1000):
            pass
        connection.shutdown(socket.SHUT_WR)
        assert ended.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("sent", "said"),
    [(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "gRPC client"), (b"\x16\x03\x01\x00\x05hello", "TLS client")],
)
def test_H20_clients_on_the_wrong_port_are_named(
    sent: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with door_with(LIMITS) as url, connected(url) as connection:
        connection.sendall(sent)
        assert answered(connection) == b""
    assert said in caplog.text


def test_beyond_the_limit_the_oldest_idle_connection_is_closed() -> None:
    request = HEAD + b"Content-Length: 0\r\n\r\n"
    with door_with(HeadLimits(max_connections=2)) as url, connected(url) as first, connected(url) as second:
        for connection in (first, second):
            connection.sendall(request)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        with connected(url) as third:
            third.sendall(request)
            assert third.recv(1000).startswith(b"HTTP/1.1 200")
            assert answered(first) == b""
            second.sendall(request)
            assert second.recv(1000).startswith(b"HTTP/1.1 200")
