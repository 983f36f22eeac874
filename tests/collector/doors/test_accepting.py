"""Several who take up connections from one socket have about as many each."""

from __future__ import annotations

import asyncio
import select
import socket
import subprocess
import sys
from contextlib import AsyncExitStack, closing

import uvloop
from starlette.types import Receive, Scope, Send

from collector.doors.accepting import Shares
from collector.doors.guarded import HeadLimits, guarded
from collector.doors.listening import bound, listen
from tests.waiting import PATIENCE_S

ASKED = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


def test_who_has_more_than_the_one_with_least_and_a_sixteenth_is_ahead() -> None:
    with Shares.file(3) as file:
        first, second = Shares(file.fileno(), 0), Shares(file.fileno(), 1)
        first.note(0)
        second.note(0)  # there is no third
        assert not first.is_ahead()
        first.note(1)
        assert (first.is_ahead(), second.is_ahead()) == (True, False)
        second.note(160)
        first.note(170)
        assert not first.is_ahead()
        first.note(171)
        assert first.is_ahead()
        Shares(file.fileno()).gone(1)
        assert not first.is_ahead()
        assert first.counts() == [171, -1, -1]


async def _door(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _counts(clients: int, takers: list[int], silent: list[int]) -> list[int]:
    """How many connections each has when so many clients have come and were answered.

    Args:
        takers: places of those who take some up.
        silent: places of those who seem to be there and take none up.
    """
    async with AsyncExitStack() as parts:
        file = parts.enter_context(Shares.file(len(takers) + len(silent)))
        for place in silent:
            Shares(file.fileno(), place).note(0)
        listener = parts.enter_context(closing(bound("test", "127.0.0.1:0")))
        for place in takers:
            shares = Shares(file.fileno(), place)
            options = {"listener": listener.dup(), "shares": shares, "http": guarded(HeadLimits())}
            await listen("test", "127.0.0.1:0", _door, parts, **options)
        opened = [socket.create_connection(listener.getsockname(), PATIENCE_S) for _ in range(clients)]
        try:
            for client in opened:
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(client, ASKED)
                assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 204")
            return Shares(file.fileno()).counts()
        finally:
            for client in opened:
                client.close()


def test_those_who_share_a_socket_have_about_as_many_connections() -> None:
    counts = uvloop.run(_counts(80, [0, 1], []))
    assert sum(counts) == 80
    assert abs(counts[0] - counts[1]) <= 2 + 40 // 16


def test_who_is_ahead_takes_up_whom_nobody_else_does() -> None:
    assert uvloop.run(_counts(20, [0], [1])) == [20, 0]


OUT_OF_HANDLES = """
import asyncio, os, resource, sys
from contextlib import AsyncExitStack
import uvloop
from collector.doors.accepting import Shares
from collector.doors.listening import listen
from collector.intake.intake import Intake
from collector.receivers.http import HttpReceiver

async def run():
    async with AsyncExitStack() as parts:
        shares = Shares(parts.enter_context(Shares.file(1)).fileno(), 0)
        url = await listen("http", "127.0.0.1:0", HttpReceiver(Intake({})), parts, shares=shares)
        most = len(os.listdir("/proc/self/fd")) + 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

uvloop.run(run())
"""


def test_T7_without_file_handles_clients_wait_until_there_are_some() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OUT_OF_HANDLES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
    left = {socket.create_connection((host, int(port)), timeout=PATIENCE_S) for _ in range(60)}
    try:
        for client in left:
            client.sendall(ASKED)
        served = 0
        while left:
            answered, _, _ = select.select(left, [], [], PATIENCE_S)
            assert answered, f"{served} were served"
            for client in answered:
                assert client.recv(1000).startswith(b"HTTP/1.1 200")
                client.close()
            served += len(answered)
            left -= set(answered)
        assert served == 60
    finally:
        for client in left:
            client.close()
        process.stdin.close()
        process.wait(PATIENCE_S)
