"""Doors take up all who come at once."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import uvloop
from starlette.types import Receive, Scope, Send

from collector.listening import listen

CLIENTS = 64
ROUNDS = 16
"""Of the event loop: fewer than clients, enough for some to be taken up in each and for what they send to be read."""


def test_many_clients_are_taken_up_within_a_few_rounds() -> None:
    assert uvloop.run(_asked_within(ROUNDS)) == CLIENTS


async def _asked_within(rounds: int) -> int:
    asked = 0

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        asked += 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    clients = []
    async with AsyncExitStack() as parts:
        url = await listen("test", "127.0.0.1:0", door, parts)
        assert url is not None
        host, _, port = url.removeprefix("http://").partition(":")
        for _ in range(CLIENTS):
            # The kernel answers; nobody has taken it up yet.
            client = socket.create_connection((host, int(port)))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            clients.append(client)
        for _ in range(rounds):
            await asyncio.sleep(0)
        found = asked
        for client in clients:
            client.close()
    return found
