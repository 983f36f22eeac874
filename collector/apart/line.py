"""What the collector and a process that maps for it say to each other: plain values, each in a frame of its own."""

from __future__ import annotations

import marshal
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<Q")
MAX_BYTES = 1 << 31
"""Of a frame: more is none of ours."""


class GarbledError(Exception):
    """What was heard is no frame of plain values."""


class Line:
    """One end. Used by one thread at a time.

    Args:
        connected: a stream that nobody else has the other end of. Whether waiting for it ends is its `timeout`.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def say(self, value: Any) -> None:
        """Says a value of None, numbers, texts, bytes, and tuples, lists and dicts of these.

        Raises:
            ValueError: it holds something else; nothing is said.
            OSError: the other end is gone, or does not listen.
        """
        body = marshal.dumps(value)
        self._socket.sendall(_LENGTH.pack(len(body)))
        self._socket.sendall(body)

    def hear(self) -> Any:
        """The next value.

        Raises:
            EOFError: the other end is gone.
            TimeoutError: it says nothing.
            GarbledError: it says something else.
        """
        (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
        if length > MAX_BYTES:
            raise GarbledError(f"a frame of {length} bytes")
        body = self._receive(length)
        try:
            return marshal.loads(body)  # noqa: S302  # it is of our own process
        except (ValueError, TypeError, EOFError) as error:
            raise GarbledError(str(error)) from None

    def _receive(self, length: int) -> bytearray:
        body = bytearray(length)
        rest = memoryview(body)
        while rest:
            try:
                count = self._socket.recv_into(rest)
            except ConnectionError:
                count = 0
            if not count:
                raise EOFError
            rest = rest[count:]
        return body

    def close(self) -> None:
        self._socket.close()
