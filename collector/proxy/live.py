"""Gemini's Live API: each turn of the model is one call, noted as a stream, with the conversation before it.

The first message of a connection sets it up. A turn begins when the client has ended its own or brought the result of
a tool, or when the provider begins by itself since a voice has paused; it ends with `turnComplete` or a `toolCall`. The
provider remembers what was said, and so do these notes: as `contents`, by which the turns of a connection are known as
one conversation. Names: Gemini API reference, "Live API - WebSockets"; SDKs write those that they send with or without
underscores, and the provider sends its JSON in binary frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from collector.proxy.formats.base import Document, mapped, mappings, string
from collector.proxy.formats.gemini import Live
from collector.proxy.frames import HEADERS
from collector.proxy.tape import Ending, Tape

MAX_TURNS = 64
"""Of the conversation, so many are noted with the next turn."""
MAX_MESSAGE = 256 << 10
"""Bytes of a client's message; longer ones are media, and are not read."""


class LiveFrames:
    """Takes notes of one connection.

    Args:
        begin: a tape for the next call.
        finish: takes it when the call is over.
    """

    def __init__(self, begin: Callable[[], Tape | None], finish: Callable[[Tape], None]) -> None:
        self._begin = begin
        self._finish = finish
        self._setup: Document = {}
        self._contents: list[Document] = []
        self._heard = ""
        """What the provider understood of the client's voice, and is not yet among the contents."""
        self._is_open = False
        self._tape: Tape | None = None
        self._answer = Live().assembler()
        self._cuts = False
        """The client went on before the turn was over: that one's end is still to come."""

    @property
    def open_call(self) -> str:
        return self._tape.span_id if self._tape is not None else ""

    def sent(self, data: str | bytes) -> None:
        if len(data) > MAX_MESSAGE:
            return
        message = _document(data)
        if setup := mapped(message.get("setup")):
            self._setup = setup
        text = _member(mapped(_member(message, "realtimeInput", "realtime_input")), "text", "text")
        if isinstance(text, str) and text:
            self._add({"role": "user", "parts": [{"text": text}]})
        content = _member(message, "clientContent", "client_content")
        if isinstance(content, dict):
            for turn in mappings(content.get("turns")):
                self._add(turn)
            if _member(content, "turnComplete", "turn_complete") is True:
                self._start()
        response = _member(message, "toolResponse", "tool_response")
        if isinstance(response, dict):
            results = mappings(_member(response, "functionResponses", "function_responses"))
            self._add({"role": "user", "parts": [{"functionResponse": result} for result in results]})
            self._start()

    def received(self, data: str | bytes) -> None:
        message = _document(data)
        content = mapped(message.get("serverContent"))
        self._heard += string(mapped(content.get("inputTranscription")).get("text"))
        says = "toolCall" in message or "modelTurn" in content or "outputTranscription" in content
        ends = "toolCall" in message or content.get("turnComplete") is True
        if self._cuts and not says:
            self._cuts = not ends
            return
        self._cuts = False
        if not self._is_open:
            if not says:
                return
            self._start()
        if self._tape is not None:
            self._tape.received(b"data: " + orjson.dumps(message) + b"\n\n")
        self._answer.feed("", message, 0)
        if ends:
            self._end(Ending.WHOLE)

    def closed(self, ending: Ending) -> None:
        """The connection is closed; a turn that was under way was cut off."""
        self._end(ending)

    def _start(self) -> None:
        if self._is_open:
            self._end(Ending.CLIENT)
            self._cuts = True
        self._hear()
        self._is_open, self._tape, self._answer = True, self._begin(), Live().assembler()
        if self._tape is not None:
            self._tape.sent(orjson.dumps({**self._setup, "contents": self._contents}))
            self._tape.answered(200, HEADERS)

    def _end(self, ending: Ending) -> None:
        tape, self._tape = self._tape, None
        if tape is not None:
            tape.ended(ending)
            self._finish(tape)
        if self._is_open:
            self._is_open = False
            self._hear()
            for candidate in mappings(self._answer.document.get("candidates")):
                self._add(mapped(candidate.get("content")))

    def _hear(self) -> None:
        heard, self._heard = self._heard, ""
        if heard:
            self._add({"role": "user", "parts": [{"text": heard}]})

    def _add(self, content: Document) -> None:
        if content.get("parts"):
            self._contents.append(content)
            del self._contents[:-MAX_TURNS]


def _document(data: str | bytes) -> Document:
    try:
        return mapped(orjson.loads(data if isinstance(data, bytes) else data.encode(errors="replace")))
    except orjson.JSONDecodeError:
        return {}


def _member(document: Document, name: str, other: str) -> Any:
    """A member by its name in JSON or by that of the protocol's definition."""
    return document.get(name) if name in document else document.get(other)
