"""Doors take up all who come at once."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import AsyncExitStack

import uvloop
from starlette.types import Receive, Scope, Send

from collector.doors.listening import listen
from tests.waiting import PATIENCE_S, until

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


OUT_OF_HANDLES = """
import asyncio, os, resource, sys
from contextlib import AsyncExitStack
import uvloop
from collector.intake.intake import Intake
from collector.doors.listening import listen
from collector.receivers.http import HttpReceiver

async def run():
    async with AsyncExitStack() as parts:
        url = await listen("http", "127.0.0.1:0", HttpReceiver(Intake({})), parts)
        most = len(os.listdir("/proc/self/fd")) + 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

uvloop.run(run())
"""


def test_T7_without_file_handles_who_is_connected_is_served_and_all_are_once_there_are_some() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OUT_OF_HANDLES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
    request = (
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
    )

    def is_served(connection: socket.socket) -> bool:
        try:
            connection.sendall(request)
            return connection.recv(1000).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            return False

    try:
        clients = [socket.create_connection((host, int(port)), timeout=PATIENCE_S) for _ in range(60)]
        assert 10 <= sum(map(is_served, clients)) < 60
        for client in clients:
            client.close()

        def is_served_anew() -> bool:
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
                return is_served(client)

        until(is_served_anew)
    finally:
        process.stdin.close()
        process.wait(PATIENCE_S)


def test_as_many_file_handles_are_used_as_there_may_be() -> None:
    script = """
import resource
from collector.doors.listening import take_file_handles
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
take_file_handles()
soft, still = resource.getrlimit(resource.RLIMIT_NOFILE)
print(soft > 100 and soft == min(hard, 1 << 16) and still == hard)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"
