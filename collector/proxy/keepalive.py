"""Signs of life in a stream of events while its provider says nothing, for whatever stands between and would give up.

A comment, which clients skip, and only between two events: within one it would be part of what is said.
"""

from __future__ import annotations

import asyncio

from starlette.types import Send

from collector.proxy.posting import Read

COMMENT = b": keep-alive\n\n"
_BETWEEN = (b"\n\n", b"\r\r", b"\r\n\r\n")
_LONGEST = 4


class KeepAlive:
    """Of one stream.

    Args:
        every_s: how long it may be silent.
    """

    def __init__(self, send: Send, every_s: float) -> None:
        self._send = send
        self._every_s = every_s
        self._tail = b"\n\n"
        """What was sent last; before the first event nothing has begun."""

    def sent(self, piece: bytes) -> None:
        """This much has gone to the client."""
        self._tail = (self._tail + piece[-_LONGEST:])[-_LONGEST:]

    @property
    def is_between_events(self) -> bool:
        return self._tail.endswith(_BETWEEN)

    def while_waiting(self, read: Read) -> Read:
        """The reader, which sends comments while it waits."""

        async def give() -> bytes:
            reading = asyncio.ensure_future(read())
            try:
                while not (await asyncio.wait((reading,), timeout=self._every_s))[0]:
                    if self.is_between_events:
                        await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
                return reading.result()
            finally:
                reading.cancel()

        return give
