"""The client towards providers by itself: which of its connections it uses again."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from collector.config import ProxyTimeouts
from collector.process.interpreter import event_loop
from collector.proxy import posting
from collector.proxy.gate import Gate
from collector.proxy.posting import Poster
from collector.proxy.relay import Relay
from collector.proxy.routes import Route, Upstream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Listener:
    """Answers when it is told to, within the same thread as the client."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.connections: list[socket.socket] = []
        self.requests = 0

    async def answer(self, *, accepting: bool) -> None:
        loop = asyncio.get_running_loop()
        if accepting:
            self.connections.append((await loop.sock_accept(self._socket))[0])
        connection = self.connections[-1]
        connection.setblocking(False)
        assert (await loop.sock_recv(connection, 65536)).startswith((b"POST /x ", b"GET /x "))
        self.requests += 1
        await loop.sock_sendall(connection, OK)

    def close(self) -> None:
        for connection in (*self.connections, self._socket):
            connection.close()


Ask = Callable[[], Any]


async def _posted(relay: Relay, url: URL) -> None:
    poster = relay._posters[relay._open]
    answer = await poster.post(url, [(b"content-length", b"2")], b"{}", connect_s=5, first_byte_s=5)
    assert await answer.read() == b"{}"
    answer.release()


async def _got(relay: Relay, url: URL) -> None:
    session, options = relay.options(Route(Upstream("x", str(url.origin()), "x"), url, "/x"))
    async with session.request("GET", url, **options) as answer:
        assert await answer.read() == b"{}"


@asynccontextmanager
async def _relaying() -> AsyncIterator[tuple[Relay, Listener]]:
    relay, listener = Relay(Gate(), ProxyTimeouts()), Listener()
    try:
        async with asyncio.timeout(5):
            yield relay, listener
    finally:
        await relay.close()
        listener.close()


@pytest.mark.parametrize("asking", [_posted, _got])
@pytest.mark.parametrize("ending", ["closed", "unasked"])
def test_what_a_provider_says_while_nobody_listens_is_seen_before_the_next_request(
    asking: Callable[[Relay, URL], Any], ending: str
) -> None:
    """A busy event loop has not been told yet that the connection is no good any more."""

    async def ask_twice() -> int:
        async with _relaying() as (relay, listener):
            url = URL(f"http://127.0.0.1:{listener.port}/x")
            await asyncio.gather(asking(relay, url), listener.answer(accepting=True))
            first = listener.connections[0]
            if ending == "closed":
                first.close()
            else:
                first.send(OK)
            time.sleep(0.02)  # the loop stands still
            answering = asyncio.create_task(listener.answer(accepting=True))
            await asking(relay, url)
            await answering
            return listener.requests

    assert event_loop()(ask_twice()) == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask_twice() -> None:
        async with _relaying() as (relay, listener):
            url = URL(f"http://127.0.0.1:{listener.port}/x")
            await asyncio.gather(_posted(relay, url), listener.answer(accepting=True))
            await asyncio.gather(_posted(relay, url), listener.answer(accepting=False))
            monkeypatch.setattr(posting, "KEEP_ALIVE_S", 0.01)
            await asyncio.sleep(0.02)
            await asyncio.gather(_posted(relay, url), listener.answer(accepting=True))

    event_loop()(ask_twice())


class _Silent(AbstractResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await asyncio.sleep(30)
        return []

    async def close(self) -> None:
        pass


def test_a_name_that_is_not_resolved_in_time_is_no_connection_in_time() -> None:
    async def ask() -> None:
        connector = aiohttp.TCPConnector(resolver=_Silent())
        poster = Poster(connector)
        try:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await poster.post(URL("http://slow.example/"), [], b"", connect_s=0.05, first_byte_s=5)
        finally:
            poster.close()
            await connector.close()

    event_loop()(ask())
