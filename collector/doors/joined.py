"""A transport that sends a response's head together with the beginning of its body.

uvicorn writes each by itself, which is a system call, a packet and an awakened client more. For a relayed call, whose
writes take most of its time, it was one of three.
"""

from __future__ import annotations

import asyncio
from typing import Any

HEAD = b"HTTP/1."


class JoinedTransport(asyncio.Transport):
    """What goes through is the same and in the same order. A head waits for what is written in the same round of the
    event loop, and never longer: where a body comes later, its head has gone ahead."""

    __slots__ = ("_held", "_loop", "_under")

    def __init__(self, under: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._under = under
        self._loop = loop
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._write(held + data)
        elif data[: len(HEAD)] == HEAD:
            self._held = bytes(data)
            self._loop.call_soon(self._flush)
        else:
            self._write(data)

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._write(held)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._under.is_closing():  # else the client has gone, and uvicorn does not know yet
            self._under.write(data)

    def close(self) -> None:
        self._flush()
        self._under.close()

    def abort(self) -> None:
        self._held = b""
        self._under.abort()

    def is_closing(self) -> bool:
        return self._under.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._under.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._under.pause_reading()

    def resume_reading(self) -> None:
        self._under.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._flush()
        self._under.set_protocol(protocol)
