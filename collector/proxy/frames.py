"""Responses over a WebSocket: each from its request to the event that ends it is one call, noted as a stream.

Codex and the Realtime API speak so. A frame is the same JSON document that would have been one event of a stream, so
it is put on the tape as one, and read like one. What a Realtime client adds to the conversation before it asks is what
it asks with; of a voice that pauses the provider says by itself that it answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from collector.proxy.tape import Ending, Tape

_ASKS = re.compile(r'"type"\s*:\s*"response\.create"')
_ADDS = re.compile(r'"type"\s*:\s*"conversation\.item\.create"')
_BEGINS = re.compile(r'"type"\s*:\s*"response\.created"')
_ENDS = re.compile(r'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled|done)|error)"')
"""Quotes within texts are escaped, so that nothing that is said looks like this."""
MAX_ITEMS = 64
MAX_ITEM = 64 << 10
"""Items that are kept until the next response, and characters of each; recorded voices are longer, and are not read."""
HEADERS = [(b"content-type", b"text/event-stream")]


class ResponseFrames:
    """Takes notes of one connection.

    Args:
        begin: a tape for the next call.
        finish: takes it when the call is over.
        model: of the connection, if it has one; calls need not name theirs then.
    """

    def __init__(
        self, begin: Callable[[], Tape | None], finish: Callable[[Tape], None], model: str = ""
    ) -> None:
        self._begin = begin
        self._finish = finish
        self._model = model
        self._items: list[str] = []
        """What was added to the conversation since the last call."""
        self._open: Tape | None = None

    @property
    def open_call(self) -> str:
        return self._open.span_id if self._open is not None else ""

    def sent(self, data: str | bytes) -> None:
        if not isinstance(data, str):
            return
        if _ADDS.search(data):
            if len(data) <= MAX_ITEM and len(self._items) < MAX_ITEMS:
                self._items.append(data)
        elif _ASKS.search(data):
            self._start(data)

    def _start(self, asked: str) -> None:
        self._end(Ending.UPSTREAM)
        self._open = self._begin()
        items, self._items = self._items, []
        if self._open is not None:
            self._open.sent(_request(asked, items, self._model))
            self._open.answered(200, HEADERS)

    def received(self, data: str | bytes) -> None:
        if not isinstance(data, str):
            return
        if self._open is None and _BEGINS.search(data):
            self._start('{"type": "response.create"}')
        if self._open is None:
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


def _request(asked: str, items: list[str], model: str) -> bytes:
    """What is asked, with the items and the model that it does not name itself."""
    whole = asked.encode(errors="replace")
    if not items and not model:
        return whole
    try:
        document = orjson.loads(whole)
        added = [orjson.loads(item.encode(errors="replace"))["item"] for item in items]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return whole
    if not isinstance(document, dict):
        return whole
    response = document["response"] if isinstance(document.get("response"), dict) else document
    if not isinstance(response.get("input"), (list, str)):  # one that is given stands for the conversation
        response["input"] = added
    response["model"] = response.get("model") or model
    return orjson.dumps(document)
