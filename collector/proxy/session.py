"""A conversation, as the proxy knows it: its run, and its tool calls that wait for their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from collector.proxy.exchange import Call
from collector.proxy.span import Span, SpanEvent

MAX_OPEN_CALLS = 1_000
MAX_SEEN_RESULTS = 20_000
"""Of one session; the oldest are given up."""


@dataclass(slots=True)
class Open:
    """A tool call without a result yet."""

    call: Call
    trace_id: str
    span_id: str
    """Of the model call that made it."""
    at_ns: int
    """Wall clock."""


@dataclass(slots=True)
class Session:
    """A conversation, which is a run."""

    id: str
    """"" where only the trace is known: that is no name of a conversation."""
    trace_id: str
    root_id: str
    """Span id of the run's root; "" where the root is somebody else's."""
    started_ns: int
    seen_ns: int
    name: str = ""
    is_inferred: bool = True
    open_calls: dict[str, Open] = field(default_factory=dict)
    """By call id, the oldest first."""
    seen_results: dict[str, None] = field(default_factory=dict)
    """Ids of calls whose results have come, the oldest first."""
    made: list[tuple[str, Open]] = field(default_factory=list)
    """Calls, by their key in `open_calls`, that nobody was told of yet (`Resolver.remember`)."""
    answered: list[str] = field(default_factory=list)
    """Ids in `seen_results` likewise."""
    whole: Session | None = None
    """The conversation, where this is one turn of it only (`turns`)."""
    newest: Session | None = None
    """The newest turn of a conversation that is split into runs."""
    restored: bool = False
    """It is known from before a restart, and has no root of this process yet."""
    tenant: str = ""
    opening: str = ""
    """What the first call asked last, as JSON; "" unless it may be kept."""
    root: Span | None = None
    """As it was sent last; kept while tool calls are open."""
    unanswered: list[SpanEvent] = field(default_factory=list)
    """Events for tool calls whose results did not come."""
    project: str = ""
    """Of its last call."""
    ended_ns: int = 0
    failed: bool = False
    """The call that ended last had failed."""

    def note_call(self, at_ns: int) -> None:
        """Notes when a call of it began, by the wall clock."""
        self.seen_ns = at_ns
        if self.restored:
            self.restored = False
            if self.root_id:
                # What the root said of the run's beginning is not known any more: it stays as it is, beside a new one.
                self.root_id, self.started_ns = root_id_of(self.trace_id, at_ns), at_ns

    def open_call(self, key: str, made: Open) -> None:
        """Notes a tool call that was made."""
        self.open_calls[key] = made
        self.made.append((key, made))
        if len(self.open_calls) > MAX_OPEN_CALLS:
            self.open_calls.pop(next(iter(self.open_calls)))

    def note_result(self, call_id: str) -> None:
        """Notes that the result of a tool call has come."""
        if call_id in self.seen_results:
            return
        self.seen_results[call_id] = None
        self.answered.append(call_id)
        if len(self.seen_results) > MAX_SEEN_RESULTS:
            self.seen_results.pop(next(iter(self.seen_results)))


@dataclass(frozen=True, slots=True)
class Resolved:
    """The session of a call, and how it is known."""

    session: Session
    method: str
    confidence: float
    """From 0 to 1."""


def root_id_of(trace_id: str, started_ns: int) -> str:
    """Span id of a run's root. The start is part of it: a session that goes on after we were restarted gets a root of
    its own."""
    return sha256(f"{trace_id}\0{started_ns}".encode()).hexdigest()[:16]
