"""The least that can stand between a client and a provider, to hold the proxy's cost against.

    python -m tests.bench.bare_relay pipe|relay PROVIDER_PORT

`pipe` passes bytes and understands none of them: what two more sockets and a process that is awakened twice cost.
`relay` is what the proxy is built on, uvicorn's protocol and aiohttp's client, and nothing else. Prints its port.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import aiohttp
import uvicorn
import uvloop


class _End(asyncio.Protocol):
    """One end of a pipe."""

    def __init__(self, other: _End | None = None, provider: int = 0) -> None:
        self._other = other
        self._provider = provider
        self._waiting: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._provider:
            self._connecting = asyncio.ensure_future(self._connect())
        for piece in self._waiting:
            self._transport.write(piece)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, self._other = await loop.create_connection(lambda: _End(self), "127.0.0.1", self._provider)
        for piece in self._waiting:
            self._other.write(piece)

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._waiting.append(data)
        else:
            self._other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.close()


async def _pipe(provider: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _End(provider=provider), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _relay(provider: int) -> None:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name != b"host"}
        url = f"http://127.0.0.1:{provider}{scope['path']}"
        async with session.request(scope["method"], url, headers=headers, data=body) as response:
            given = [(n.lower(), v) for n, v in response.raw_headers if n.lower() != b"transfer-encoding"]
            await send({"type": "http.response.start", "status": response.status, "headers": given})
            async for piece in response.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(
        app, port=0, http="httptools", loop="uvloop", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving


if __name__ == "__main__":
    uvloop.run({"pipe": _pipe, "relay": _relay}[sys.argv[1]](int(sys.argv[2])))
