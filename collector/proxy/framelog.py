"""Every message of a WebSocket, for the wire capture: also those that belong to no call.

They are handed on in stretches, since a connection may last for hours. One ends with an answer, so that what is said in
pieces is looked through as a whole before any of it is written; between answers after a second, once nothing is being
said in pieces.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Protocol

from collector.proxy.tape import Ending, Tape

MAX_FRAMES = 4096
"""Messages of a stretch; of more only their number is known."""
STRETCH_NS = 1_000_000_000
SWITCHING = 101
_GOES_ON = re.compile(r'\.delta"|[tT]ranscription"')
"""In messages that are a piece of something: OpenAI's and Gemini's."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    number: int
    """Within its connection, from 1."""
    at_ns: int
    """Since the connection began."""
    to_backend: bool
    size: int
    """In bytes."""
    data: str | bytes | None
    """None: there was no room for it."""
    call: str
    """Span id of the call that it belongs to; "" if none."""


@dataclass(slots=True)
class FrameTape(Tape):
    """A stretch of a connection, which began at `started_ns`."""

    connection: str = ""
    frames: list[Frame] = field(default_factory=list)
    left_out: int = 0
    """Messages after the last of `frames`."""

    def note(self, frame: Frame) -> None:
        """Takes a message, as far as there is room."""
        if len(self.frames) == MAX_FRAMES:
            self.left_out += 1
            return
        held = self.request_bytes + frame.size
        if held <= self.limit and self.budget.take(frame.size):
            self.request_bytes = held
            self._held += frame.size
        else:
            frame = _without_data(frame)
        self.frames.append(frame)

    def forget(self) -> None:
        Tape.forget(self)
        self.frames = [_without_data(frame) for frame in self.frames]


def _without_data(frame: Frame) -> Frame:
    return Frame(frame.number, frame.at_ns, frame.to_backend, frame.size, None, frame.call)


def _goes_on(data: str | bytes) -> bool:
    text = data if isinstance(data, str) else data.decode("latin-1")
    return _GOES_ON.search(text) is not None


class Calls(Protocol):
    """Who takes notes of the calls within the connection."""

    @property
    def open_call(self) -> str:
        """Span id of the call that is being answered; "" if none is."""

    def sent(self, data: str | bytes) -> None: ...

    def received(self, data: str | bytes) -> None: ...

    def closed(self, ending: Ending) -> None: ...


class FrameLog:
    """Takes notes of one connection, beside those of its calls.

    Args:
        begin: a tape for the next stretch.
        finish: takes it when the stretch is over.
    """

    def __init__(
        self, calls: Calls, begin: Callable[[], FrameTape], finish: Callable[[FrameTape], None]
    ) -> None:
        self._calls = calls
        self._begin = begin
        self._finish = finish
        self._tape: FrameTape | None = None
        self._connection = token_hex(8)
        self._count = 0
        self._started_ns = time.time_ns()
        self._zero = time.monotonic_ns()
        self._stretch_ns = 0
        """When the stretch began, since the connection did."""

    def sent(self, data: str | bytes) -> None:
        before = self._calls.open_call
        self._calls.sent(data)
        self._note(data, before, to_backend=True)

    def received(self, data: str | bytes) -> None:
        before = self._calls.open_call
        self._calls.received(data)
        self._note(data, before, to_backend=False)

    def closed(self, ending: Ending) -> None:
        self._calls.closed(ending)
        self._end()

    def _note(self, data: str | bytes, before: str, *, to_backend: bool) -> None:
        now = time.monotonic_ns() - self._zero
        if self._tape is None:
            self._tape = self._begin()
            self._tape.connection, self._tape.started_ns = self._connection, self._started_ns
            self._stretch_ns = now
        self._count += 1
        size = len(data) if isinstance(data, bytes) else len(data.encode(errors="replace"))
        after = self._calls.open_call
        # What begins an answer belongs to it, and so does what ends it.
        call = (after or before) if to_backend else (before or after)
        self._tape.note(Frame(self._count, now, to_backend, size, data, call))
        is_long = len(self._tape.frames) == MAX_FRAMES or now - self._stretch_ns >= STRETCH_NS
        if not after and (before or (is_long and not _goes_on(data))):
            self._end()

    def _end(self) -> None:
        tape, self._tape = self._tape, None
        if tape is not None:
            tape.status = SWITCHING
            tape.ended(Ending.WHOLE)
            self._finish(tape)
