"""The copy beside the stream: what passed and when, within a budget, and nothing else on the hot path."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from collector.proxy.context import Context
from collector.proxy.routes import Upstream

Headers = Sequence[tuple[bytes, bytes]]


class Ending(StrEnum):
    """Who ended a call. Whether the answer was whole is for whoever reads it: clients hang up as soon as they
    have seen the end of a stream."""

    WHOLE = "whole"
    """The provider's response came to its end."""
    CLIENT = "client"
    UPSTREAM = "upstream"
    """Cut off, reset, or silent for too long."""
    OURS = "ours"
    """Never reached the provider, or never got an answer; or we are ending."""


class Budget:
    """Bytes that all tapes together may hold. Taken by the event loop, given back by the worker's thread; each
    counts on its own, so that no lock is needed."""

    __slots__ = ("_given_back", "_limit", "_taken")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._given_back = 0

    @property
    def used(self) -> int:
        return self._taken - self._given_back

    @property
    def is_tight(self) -> bool:
        """Less than a quarter is left."""
        return self.used * 4 > self._limit * 3

    def take(self, size: int) -> bool:
        """Whether there was room."""
        if self._taken - self._given_back + size > self._limit:
            return False
        self._taken += size
        return True

    def give_back(self, size: int) -> None:
        self._given_back += size


@dataclass(slots=True)
class Tape:
    """One call. Times are nanoseconds: `started_ns` by the wall clock, the others since then."""

    upstream: Upstream
    method: str
    path: str
    """The provider's path, without the query."""
    context: Context
    span_id: str
    budget: Budget
    limit: int
    """Bytes kept of each direction."""
    request_headers: Headers = ()
    query_key: str = ""
    """The API key, where the query has it."""
    client: str = ""
    server: tuple[str, int] = ("", 0)
    response_headers: Headers = ()
    status: int = 0
    """0: there was no response."""
    over_websocket: bool = False
    """Its pieces are messages of a WebSocket."""
    wire_only: bool = False
    """It is for the wire capture alone, and becomes no span."""
    request_before: list[bytes] = field(default_factory=list)
    """What the client sent, where it was changed on the way."""
    usage_asked_for: bool = False
    """The provider was asked for token counts that the client did not ask for."""
    mutations: list[str] = field(default_factory=list)
    """Ids of the plugins that changed something."""
    request: list[bytes] = field(default_factory=list)
    response: list[bytes] = field(default_factory=list)
    arrivals: list[int] = field(default_factory=list)
    """When each piece of `response` arrived."""
    request_bytes: int = 0
    response_bytes: int = 0
    pieces: int = 0
    request_cut: bool = False
    response_cut: bool = False
    """The copy is not whole: it was longer than the limit, or the budget was used up."""
    head_ns: int = 0
    """When the response's head arrived."""
    last_ns: int = 0
    """When the last piece of the response arrived."""
    end_ns: int = 0
    ending: Ending = Ending.OURS
    error: str = ""
    """What failed, in one word of `errors.Error`, where it was not the provider who said so."""
    started_ns: int = field(default_factory=time.time_ns)
    _zero: int = field(default_factory=time.monotonic_ns)
    _held: int = 0

    def key_sources(self, sent: Mapping[bytes, str]) -> tuple[Mapping[bytes, str], str]:
        """(headers, what the query has): where the API key is that the call was made with. Never stored.

        Args:
            sent: the request's headers by name.
        """
        injected = self.upstream.injected
        return (sent, self.query_key) if injected is None else (injected.headers, "")

    def now(self) -> int:
        return time.monotonic_ns() - self._zero

    def sent(self, piece: bytes) -> None:
        """A piece of the request."""
        self.request_bytes += len(piece)
        if not self.request_cut:
            if self.request_bytes <= self.limit and self.budget.take(len(piece)):
                self._held += len(piece)
                self.request.append(piece)
            else:
                self.request_cut = True

    def sent_before(self, body: bytes) -> None:
        """What the client sent, of a request that was changed."""
        if len(body) <= self.limit and self.budget.take(len(body)):
            self._held += len(body)
            self.request_before.append(body)

    def answered(self, status: int, headers: Headers) -> None:
        self.head_ns = self.now()
        self.status = status
        self.response_headers = headers

    def received(self, piece: bytes) -> None:
        """A piece of the response."""
        now = time.monotonic_ns() - self._zero
        self.last_ns = now
        self.pieces += 1
        self.response_bytes += len(piece)
        if not self.response_cut:
            if self.response_bytes <= self.limit and self.budget.take(len(piece)):
                self._held += len(piece)
                self.response.append(piece)
                self.arrivals.append(now)
            else:
                self.response_cut = True

    def ended(self, ending: Ending, error: str = "") -> None:
        # A whole answer ended with its last byte, which the client may have had before we saw that it was the last.
        self.end_ns = self.last_ns if ending is Ending.WHOLE and self.pieces else self.now()
        self.ending = ending
        self.error = error

    @property
    def held(self) -> int:
        """Bytes of the budget."""
        return self._held

    def forget(self) -> None:
        """Drops the content; what is known of the call stays."""
        self.budget.give_back(self._held)
        self._held = 0
        self.request_cut = self.request_cut or bool(self.request)
        self.response_cut = self.response_cut or bool(self.response)
        self.request, self.response, self.arrivals, self.request_before = [], [], [], []
