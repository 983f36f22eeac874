"""Responses over a WebSocket: each from its request to the event that ends it is one call, noted as a stream.

Codex and the Realtime API speak so. A frame is the same JSON document that would have been one event of a stream, so
it is put on the tape as one, and read like one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from collector.proxy.tape import Ending, Tape

_ASKS = re.compile(r'"type"\s*:\s*"response\.create"')
_ENDS = re.compile(r'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled|done)|error)"')
"""Quotes within texts are escaped, so that nothing that is said looks like this."""
HEADERS = [(b"content-type", b"text/event-stream")]


class ResponseFrames:
    """Takes notes of one connection.

    Args:
        begin: a tape for the next call.
        finish: takes it when the call is over.
    """

    def __init__(self, begin: Callable[[], Tape | None], finish: Callable[[Tape], None]) -> None:
        self._begin = begin
        self._finish = finish
        self._open: Tape | None = None

    def sent(self, data: str | bytes) -> None:
        if not isinstance(data, str) or not _ASKS.search(data):
            return
        self._end(Ending.UPSTREAM)
        self._open = self._begin()
        if self._open is not None:
            self._open.sent(data.encode(errors="replace"))
            self._open.answered(200, HEADERS)

    def received(self, data: str | bytes) -> None:
        if self._open is None or not isinstance(data, str):
            return
        self._open.received(b"data: " + data.encode(errors="replace") + b"\n\n")
        if _ENDS.search(data):
            self._end(Ending.WHOLE)

    def closed(self, ending: Ending) -> None:
        """The connection is closed; a call that was under way was cut off."""
        self._end(ending)

    def _end(self, ending: Ending) -> None:
        tape, self._open = self._open, None
        if tape is not None:
            tape.ended(ending)
            self._finish(tape)
