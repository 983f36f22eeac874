"""Providers and clients that break HTTP, or use all of it: raw sockets on both sides of the proxy."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from collector.proxy.exchange import Outcome, read_exchange
from tests.collector.proxy.running import RunningProxy
from tests.collector.proxy.tapes import tape
from tests.provider import chat
from tests.waiting import PATIENCE_S, until

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
JSON = b"content-type: application/json\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + JSON
CHAT = json.dumps(chat({})).encode()
WHOLE = OK + b"content-length: %d\r\n\r\n%s" % (len(CHAT), CHAT)


class RawProvider:
    """Answers each request with the next of these bytes; b"" closes the connection instead. After `closing` it closes
    each connection that it has answered on."""

    def __init__(
        self,
        answers: list[bytes],
        *,
        closing: bool = False,
        reads_body: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answers = answers
        self._tls = tls
        self.closing = closing
        self.reads_body = reads_body
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = 0
        """Connections that both sides have closed."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
        except OSError:  # the certificate is not trusted
            return
        with connection:
            while (request := self._read(connection)) is not None:
                self.requests.append(request)
                answer = self.answers.pop(0) if self.answers else b""
                if answer:
                    connection.sendall(answer)
                while not self.reads_body and connection.recv(65536):
                    pass
                if self.closing or not answer:
                    with suppress(OSError):  # the other side has ended it already
                        connection.shutdown(socket.SHUT_WR)
                        while self.closing and connection.recv(65536):
                            pass
                    self.ended += 1
                    return

    def _read(self, connection: socket.socket) -> bytes | None:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (piece := connection.recv(65536)):
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        if not self.reads_body:
            return data
        if b"transfer-encoding: chunked" in head.lower():
            while not body.endswith(b"0\r\n\r\n"):
                if not (piece := connection.recv(65536)):
                    return None
                body += piece
            return head + b"\r\n\r\n" + body
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            if not (piece := connection.recv(65536)):
                return None
            body += piece
        return head + b"\r\n\r\n" + body


@contextmanager
def answering(*answers: bytes, **how: Any) -> Iterator[RawProvider]:
    provider = RawProvider(list(answers), **how)
    try:
        yield provider
    finally:
        provider.close()


def asked(proxy: RunningProxy, provider: RawProvider, *, method: str = "POST", body: bytes = BODY) -> bytes:
    """All that a client gets for one request that ends its connection."""
    with connected(proxy) as client:
        client.sendall(request(proxy, provider, method, body))
        return everything(client)


def request(
    proxy: RunningProxy,
    provider: RawProvider,
    method: str = "POST",
    body: bytes = BODY,
    more: bytes = b"connection: close\r\n",
) -> bytes:
    target = f"/openai/http/127.0.0.1:{provider.port}/v1/chat/completions"
    head = f"{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return head.encode() + more + b"content-length: %d\r\n\r\n%s" % (len(body), body)


@contextmanager
def connected(proxy: RunningProxy) -> Iterator[socket.socket]:
    with socket.create_connection(
        ("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=PATIENCE_S
    ) as client:
        yield client


def everything(client: socket.socket) -> bytes:
    got = b""
    try:
        while piece := client.recv(65536):
            got += piece
    except ConnectionResetError:
        pass
    return got


def outcome(proxy: RunningProxy) -> Any:
    (span,) = proxy.collected.wait(1, "chat m")
    return span.attributes["eddyline.proxy.outcome"]


CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
COMPLETE: dict[str, bytes] = {
    "early hints before it": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + WHOLE,
    "100 before it": b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
    "trailers": CHUNKED + b"%x\r\n%s\r\n0\r\nx-checksum: 1\r\n\r\n" % (len(CHAT), CHAT),
    "chunk extensions": CHUNKED + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(CHAT), CHAT),
    "a head of 60 kB": OK + b"x-long: %s\r\ncontent-length: %d\r\n\r\n%s" % (b"a" * 60_000, len(CHAT), CHAT),
    "no reason phrase": WHOLE.replace(b"200 OK", b"200 "),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_unusual_answers_come_through_whole(proxy: RunningProxy, name: str) -> None:
    proxy.collected.clear()
    with answering(COMPLETE[name]) as provider:
        got = asked(proxy, provider)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert CHAT in got
    head = got.partition(b"\r\n\r\n")[0].lower()
    assert (b"content-length" in head) != (b"transfer-encoding" in head)
    assert outcome(proxy) == Outcome.COMPLETE


ENDING: dict[str, bytes] = {
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + JSON,
    "no length": OK,
    "a transfer coding": OK + b"transfer-encoding: identity\r\n",
}


@pytest.mark.parametrize("name", ENDING)
def test_an_answer_that_ends_with_its_connection_is_whole(proxy: RunningProxy, name: str) -> None:
    proxy.collected.clear()
    with answering(ENDING[name] + b"\r\n" + CHAT, closing=True) as provider:
        got = asked(proxy, provider)
    assert CHAT in got
    assert got.endswith(b"0\r\n\r\n")
    assert outcome(proxy) == Outcome.COMPLETE


CUT: dict[str, bytes] = {
    "within a chunk": CHUNKED + b"%x\r\n%s" % (len(CHAT), CHAT[:50]),
    "before the last chunk": CHUNKED + b"%x\r\n%s\r\n" % (50, CHAT[:50]),
    "within its length": OK + b"content-length: %d\r\n\r\n%s" % (len(CHAT), CHAT[:50]),
    "with much before a chunk that is none": CHUNKED + b"%x\r\n%s\r\nzz\r\n" % (200_000, b" " * 200_000),
    "with a chunk that is none": CHUNKED + b"%x\r\n%s\r\nzz\r\n" % (50, CHAT[:50]),
}


@pytest.mark.parametrize("name", CUT)
def test_an_answer_that_is_cut_does_not_look_whole(proxy: RunningProxy, name: str) -> None:
    proxy.collected.clear()
    with answering(CUT[name], closing=True) as provider:
        got = asked(proxy, provider)
    head, _, body = got.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200"):
        assert not body.endswith(b"0\r\n\r\n")
        assert CHAT not in body
        if b"content-length" in head.lower():
            assert len(body) < len(CHAT)
    else:
        assert b"x-loop-error" in head
    assert outcome(proxy) == Outcome.UPSTREAM_ABORT


NO_HTTP: dict[str, bytes] = {
    "both lengths": OK
    + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(CHAT), CHAT),
    "garbage": b"\x00\x01\x02 not http\r\n\r\n",
    "two lengths": OK + b"content-length: 3\r\ncontent-length: 5\r\n\r\nabcde",
    "a length that is none": OK + b"content-length: -1\r\n\r\n",
    "a head of 200 kB": OK + b"x-long: %s\r\n\r\n" % (b"a" * 200_000),
    "nothing": b"",
    "a status that is none": b"HTTP/1.1 799 Odd\r\ncontent-length: 2\r\n\r\n{}",
    "a control character": OK + b"x-a: b\x01c\r\ncontent-length: 2\r\n\r\n{}",
    "a change of protocols": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nabc",
}


@pytest.mark.parametrize("name", NO_HTTP)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_what_is_no_answer_is_a_502_of_ours(proxy: RunningProxy, name: str, method: str) -> None:
    with answering(NO_HTTP[name], closing=True) as provider:
        got = asked(proxy, provider, method=method)
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"x-loop-error: " in got
    assert len(provider.requests) == 1


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_what_was_not_modified_has_a_length_and_no_body(proxy: RunningProxy, method: str) -> None:
    """The connection goes on."""
    answer = b"HTTP/1.1 304 Not Modified\r\netag: a\r\ncontent-length: 10\r\n\r\n"
    with answering(answer, WHOLE) as provider, connected(proxy) as client:
        client.sendall(request(proxy, provider, method, more=b""))
        head = client.recv(65536)
        client.sendall(request(proxy, provider))
        assert head.startswith(b"HTTP/1.1 304 ")
        assert head.endswith(b"\r\n\r\n")
        assert CHAT in everything(client)


def test_bytes_after_an_answer_are_nobodys_answer(proxy: RunningProxy) -> None:
    stray = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstray!"
    with answering(WHOLE + stray, WHOLE, WHOLE) as provider:
        for _ in range(3):
            got = asked(proxy, provider)
            assert CHAT in got
            assert b"stray!" not in got


def test_a_connection_that_the_provider_closed_is_not_used_again(proxy: RunningProxy) -> None:
    with answering(WHOLE, WHOLE, WHOLE, closing=True) as provider:
        for _ in range(3):
            assert CHAT in asked(proxy, provider)
            until(lambda: provider.ended == provider.connections)
    assert provider.connections == 3


@pytest.mark.parametrize(
    "answer", [WHOLE, COMPLETE["trailers"], COMPLETE["100 before it"]], ids=["length", "chunks", "100"]
)
def test_a_connection_that_stays_open_is_used_again(proxy: RunningProxy, answer: bytes) -> None:
    with answering(answer, answer, answer) as provider:
        for _ in range(3):
            assert CHAT in asked(proxy, provider)
    assert provider.connections == 1


def test_a_connection_that_the_provider_will_close_is_not_used_again(proxy: RunningProxy) -> None:
    last = WHOLE.replace(JSON, JSON + b"connection: close\r\n")
    with answering(last, last) as provider:
        for _ in range(2):
            assert CHAT in asked(proxy, provider)
    assert provider.connections == 2


def test_a_provider_is_spoken_to_by_tls_with_the_certificates_that_are_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with answering(WHOLE, CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(CHAT), CHAT), tls=context) as provider:
        url = f"https://127.0.0.1:{provider.port}"
        trusting = {"url": url, "ca": str(tmp_path / "ca.pem")}
        with RunningProxy(upstreams={"trusted": trusting, "unknown": {"url": url}}) as proxy:
            got = []
            for name in ("trusted", "trusted", "unknown"):
                target = f"/{name}/v1/chat/completions"
                head = f"POST {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".encode()
                with connected(proxy) as client:
                    client.sendall(head + JSON + b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY))
                    got.append(everything(client))
        assert CHAT in got[0]
        assert CHAT in got[1]
        assert b"x-loop-error: tls" in got[2]
        assert provider.connections == 2


def test_heads_of_64_kib_reach_the_provider_and_endless_ones_do_not(proxy: RunningProxy) -> None:
    large = b"connection: close\r\nx-large: %s\r\n" % (b"a" * (64 << 10))
    with answering(WHOLE) as provider:
        for more, expected in ((large, b"200"), (large * 2, b"431")):
            with connected(proxy) as client:
                client.sendall(request(proxy, provider, more=more))
                assert everything(client).split()[1] == expected
    (seen,) = provider.requests
    assert b"a" * (64 << 10) in seen


UNUSUAL: dict[str, list[bytes]] = {
    "HTTP/1.0": [b"HTTP/1.0\r\n", b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY)],
    "chunks and a trailer": [
        b"HTTP/1.1\r\n",
        b"connection: close\r\ntrailer: x-a\r\ntransfer-encoding: chunked\r\n\r\n"
        b"%x\r\n%s\r\n0\r\nx-a: 1\r\n\r\n" % (len(BODY), BODY),
    ],
    "two on one connection at once": [
        b"HTTP/1.1\r\n",
        b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY),
        b"HTTP/1.1\r\n",
        b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY),
    ],
}
"""After the target, and after the headers that all have, of each request."""


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_requests_reach_the_provider_whole(proxy: RunningProxy, name: str) -> None:
    parts = UNUSUAL[name]
    with answering(*[WHOLE] * (len(parts) // 2)) as provider, connected(proxy) as client:
        start = f"POST /openai/http/127.0.0.1:{provider.port}/v1/chat/completions ".encode()
        headers = b"host: localhost\r\n" + JSON
        client.sendall(
            b"".join(
                start + version + headers + rest
                for version, rest in zip(parts[::2], parts[1::2], strict=True)
            )
        )
        got = everything(client)
        assert got.count(CHAT) == len(provider.requests) == len(parts) // 2
        assert all(BODY in seen for seen in provider.requests)


def test_a_client_keeps_its_connection_over_errors(proxy: RunningProxy) -> None:
    with answering(b"", WHOLE) as provider, connected(proxy) as client:
        reader = client.makefile("rb")
        for expected in (b"502", b"200"):
            client.sendall(request(proxy, provider, more=b""))
            assert reader.readline().split()[1] == expected
            length = 0
            while (line := reader.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            reader.read(length)


def test_an_answer_before_the_body_was_sent_reaches_the_client(proxy: RunningProxy) -> None:
    refusal = b'{"error":{"message":"too large","type":"invalid_request_error"}}'
    answer = b"HTTP/1.1 413 Payload Too Large\r\n" + JSON
    answer += b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(refusal), refusal)
    with answering(answer, closing=True, reads_body=False) as provider:
        got = asked(proxy, provider, body=b'{"model":"m","x":"' + b"a" * 3_000_000 + b'"}')
    assert got.startswith(b"HTTP/1.1 413 ")
    assert got.endswith(refusal)


def test_a_request_that_is_cut_is_no_request_of_the_providers(proxy: RunningProxy) -> None:
    with answering(WHOLE) as provider:
        with connected(proxy) as client:
            client.sendall(request(proxy, provider)[:-10])
            client.shutdown(socket.SHUT_RDWR)
        with connected(proxy) as client:
            target = f"/openai/http/127.0.0.1:{provider.port}/v1/chat/completions"
            head = f"POST {target} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
            client.sendall(head.encode() + b"5\r\nabcde\r\nzz\r\n")
            everything(client)
        assert CHAT in asked(proxy, provider)
    assert len(provider.requests) == 1


def test_a_length_and_chunks_together_are_not_smuggled(proxy: RunningProxy) -> None:
    with answering(WHOLE, WHOLE) as provider, connected(proxy) as client:
        target = f"/openai/http/127.0.0.1:{provider.port}/v1/chat/completions"
        head = f"POST {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 4\r\n"
        client.sendall(
            head.encode() + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        )
        everything(client)
        assert all(b"smuggled" not in seen for seen in provider.requests)


TRAILING: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda packed: packed + b"garbage after it",
    "zeros": lambda packed: packed + b"\0" * 512,
    "another member": lambda packed: packed + gzip.compress(b""),
}


@pytest.mark.parametrize("name", TRAILING)
@pytest.mark.parametrize("step", [1 << 20, 1], ids=["in one piece", "byte by byte"])
def test_what_follows_a_gzip_is_passed_over(name: str, step: int) -> None:
    packed = TRAILING[name](gzip.compress(CHAT))
    pieces = [packed[start : start + step] for start in range(0, len(packed), step)]
    exchange = read_exchange(
        tape("/v1/chat/completions", BODY, pieces, media_type="application/json", coding="gzip")
    )
    assert exchange.answered.messages[0]["parts"]
    assert exchange.outcome == Outcome.COMPLETE
