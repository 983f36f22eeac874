"""A head and the beginning of its body are one write, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from collector.doors.joined import JoinedTransport

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Written(asyncio.Transport):
    """Keeps what is written; b"" stands for the close."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.is_gone = False

    def is_closing(self) -> bool:
        return self.is_gone

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.pieces.append(b"")

    def abort(self) -> None:
        self.pieces.append(b"aborted")


def written(what: Callable[[JoinedTransport], Awaitable[None]]) -> list[bytes]:
    async def run() -> list[bytes]:
        under = Written()
        await what(JoinedTransport(under, asyncio.get_running_loop()))
        return under.pieces

    return asyncio.run(run())


def test_a_head_leaves_with_the_body_that_follows_at_once() -> None:
    async def answer(transport: JoinedTransport) -> None:
        transport.write(HEAD)
        transport.write(b"o")
        transport.write(b"k")
        transport.write(HEAD)
        transport.write(b"ok")
        await asyncio.sleep(0)

    assert written(answer) == [HEAD + b"o", b"k", HEAD + b"ok"]


def test_a_head_does_not_wait_for_a_body_that_comes_later() -> None:
    async def answer(transport: JoinedTransport) -> None:
        transport.write(HEAD)
        await asyncio.sleep(0)
        transport.write(b"ok")

    assert written(answer) == [HEAD, b"ok"]


def test_a_head_without_a_body_is_not_lost_when_the_connection_is_closed() -> None:
    async def answer(transport: JoinedTransport) -> None:
        transport.write(HEAD)
        transport.close()
        await asyncio.sleep(0)

    assert written(answer) == [HEAD, b""]


def test_nothing_is_written_to_who_has_gone() -> None:
    async def answer() -> list[bytes]:
        under = Written()
        transport = JoinedTransport(under, asyncio.get_running_loop())
        transport.write(HEAD)
        under.is_gone = True
        transport.write(b"ok")
        transport.write(HEAD)
        await asyncio.sleep(0)
        return under.pieces

    assert asyncio.run(answer()) == []


def test_an_aborted_connection_sends_no_more() -> None:
    async def answer(transport: JoinedTransport) -> None:
        transport.write(HEAD)
        transport.abort()
        await asyncio.sleep(0)

    assert written(answer) == [b"aborted"]
