"""Which calls belong together, where nobody said so.

First what a client says, then what the protocol says, then what the conversation itself proves: the id of a tool
call that comes back with its result, or a history that repeats, word for word, an answer that we saw being given.
Everything is derived from the message form of `formats`, so that it holds for every API alike.

What is left out of a comparison is what clients change from turn to turn: system prompts, reminders, cache marks,
reasoning, signatures, white space at the ends.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any

import orjson

from collector.proxy.exchange import Call, Exchange, Outcome
from collector.proxy.formats import Message, Part

MAX_KEYS = 200_000
"""Marks that are remembered, over all sessions."""
MAX_OPEN_CALLS = 1_000
MAX_SEEN_RESULTS = 20_000
TTL_NS = 24 * 3600 * 1_000_000_000
TAIL_LENGTH = 40
"""Characters from which on an answer alone is telling."""
CLIENT_HEADERS = (
    b"x-claude-code-session-id",
    b"session-id",
    b"session_id",
    b"x-opencode-session",
    b"x-session-affinity",
    b"x-session-id",
)
"""Headers in which coding agents name their session."""

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_CLAUDE_SESSION = re.compile(r"_session_([0-9a-f-]{36})$")


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
    opening: str = ""
    """What the first call asked last, as JSON; "" unless it may be kept."""
    ended_ns: int = 0
    failed: bool = False
    """The call that ended last had failed."""

    def open_call(self, key: str, made: Open) -> None:
        self.open_calls[key] = made
        if len(self.open_calls) > MAX_OPEN_CALLS:
            self.open_calls.pop(next(iter(self.open_calls)))

    def note_result(self, call_id: str) -> None:
        self.seen_results[call_id] = None
        if len(self.seen_results) > MAX_SEEN_RESULTS:
            self.seen_results.pop(next(iter(self.seen_results)))


@dataclass(frozen=True, slots=True)
class Resolved:
    session: Session
    method: str
    confidence: float


class Resolver:
    """Remembers sessions. Used from one thread, in the order in which calls end."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Any] = OrderedDict()

    def resolve(self, exchange: Exchange) -> Resolved:
        """The session of a call."""
        marks = _Marks(exchange)
        found = self._find(exchange, marks)
        session = found.session
        session.seen_ns = exchange.tape.started_ns
        self._learn(exchange, session, marks)
        return found

    def learn(self, exchange: Exchange, session: Session) -> None:
        """Remembers by what its session can be known, of a call that got its answer later."""
        self._learn(exchange, session, _Marks(exchange))

    # ------------------------------------------------------------------- looking up

    def _find(self, exchange: Exchange, marks: _Marks) -> Resolved:
        context, project = exchange.tape.context, exchange.tape.context.owner
        if context.trace_id:
            method = "traceparent" if context.from_traceparent else "trace_id"
            return Resolved(self._of_trace(exchange, context.trace_id), method, 1.0)
        if context.parent_id and (parent := self._get(("span", context.parent_id), exchange)):
            return Resolved(parent, "parent_id", 1.0)
        for method, confidence, value in self._names(exchange):
            key: Hashable = (project, method, value)
            return Resolved(self._get(key, exchange) or self._new(exchange, key, value), method, confidence)
        for method, confidence, key in marks.lookups():
            session = self._get((project, *key), exchange)
            if session is not None:
                return Resolved(session, method, confidence)
        return Resolved(self._new(exchange), "new", 1.0)

    def _names(self, exchange: Exchange) -> Iterator[tuple[str, float, str]]:
        """(method, confidence, the session's name): what client or protocol say."""
        headers, context, asked = exchange.sent, exchange.tape.context, exchange.asked
        if context.session:
            yield "session", 1.0, context.session
        if asked.conversation:
            yield "conversation", 1.0, asked.conversation
        for name in CLIENT_HEADERS:
            if value := headers.get(name):
                yield "client_header", 0.99, value
        if asked.session:
            yield "client_field", 0.99, asked.session
        if asked.cache_key and "codex" in headers.get(b"user-agent", "").lower():
            yield "client_field", 0.99, asked.cache_key  # others share it among conversations
        user = asked.parameters.get("user.id")
        if isinstance(user, str) and (match := _CLAUDE_SESSION.search(user)):
            yield "client_field", 0.99, match[1]

    def _get(self, key: Hashable, exchange: Exchange) -> Session | None:
        session: Session | None = self._known.get(key)
        if session is None or exchange.tape.started_ns - session.seen_ns > TTL_NS:
            return None
        return session

    def _of_trace(self, exchange: Exchange, trace_id: str) -> Session:
        key = (exchange.tape.context.tenant, "trace", trace_id)
        session = self._get(key, exchange)
        if session is None:
            context = exchange.tape.context
            session = self._session(exchange, context.session, trace_id)
            if context.from_traceparent:
                session.root_id = ""
            session.is_inferred = False
            self._put(key, session)
        return session

    def _new(self, exchange: Exchange, key: Hashable = None, name: str = "") -> Session:
        project = exchange.tape.context.owner
        if name:
            trace_id = sha256(f"{project}\0{name}".encode()).hexdigest()[:32]
            session = self._session(exchange, name, trace_id)
            session.is_inferred = False
            self._put(key, session)
            return session
        identity = exchange.tape.span_id
        return self._session(exchange, identity, sha256(f"{project}\0{identity}".encode()).hexdigest()[:32])

    def _session(self, exchange: Exchange, identity: str, trace_id: str) -> Session:
        started = exchange.tape.started_ns
        # The start is part of it: a session that goes on after we were restarted gets a root of its own.
        root = sha256(f"{trace_id}\0{started}".encode()).hexdigest()[:16]
        context = exchange.tape.context
        return Session(identity, trace_id, root, started, started, context.run_name)

    # ------------------------------------------------------------------- remembering

    def _learn(self, exchange: Exchange, session: Session, marks: _Marks) -> None:
        project = exchange.tape.context.owner
        self._put(("span", exchange.tape.span_id), session)
        for key, unique in marks.left():
            whole = (project, *key)
            if unique:
                known = self._known.get(whole, session)
                # Two sessions that said the same can not be told apart by it.
                self._put(whole, session if known is session else None)
            else:
                self._put(whole, session)
        if exchange.outcome == Outcome.COMPLETE:
            self._known.pop((project, *marks.retry_key), None)

    def _put(self, key: Hashable, value: Session | None) -> None:
        self._known[key] = value
        self._known.move_to_end(key)
        while len(self._known) > MAX_KEYS:
            self._known.popitem(last=False)


class _Marks:
    """What of one exchange other exchanges of its session can be known by."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._turns = list(_turns(exchange.asked.messages))
        self._chain = _chain(self._turns)
        self._client = exchange.tape.client

    @property
    def retry_key(self) -> tuple[Hashable, ...]:
        whole = self._chain[-1] if self._chain else b""
        return ("retry", self._client, self._exchange.asked.model, whole)

    def lookups(self) -> Iterator[tuple[str, float, tuple[Hashable, ...]]]:
        """(method, confidence, key), the most telling first."""
        asked = self._exchange.asked
        if asked.previous_response:
            yield "response_id", 1.0, ("response", asked.previous_response)
        for _, parts in reversed(self._turns):
            for part in reversed(parts):
                if part[0] == "result" and part[1]:
                    yield "tool_call", 0.99, ("call", part[1])
        said = [index for index, (role, _) in enumerate(self._turns) if role == "assistant"]
        for index in reversed(said):
            yield "chain", 0.95, ("chain", self._chain[index])
        for index in reversed(said):
            if _length(self._turns[index][1]) >= TAIL_LENGTH:
                yield "tail", 0.7, ("tail", self._client, _digest(self._turns[index][1]))
                break
        if self._turns:
            yield "retry", 0.9, self.retry_key

    def left(self) -> Iterator[tuple[tuple[Hashable, ...], bool]]:
        """(key, whether only one session may have it)."""
        exchange = self._exchange
        if exchange.outcome != Outcome.COMPLETE and self._turns:
            yield self.retry_key, False
        if exchange.answered.id:
            yield ("response", exchange.answered.id), False
        for call in exchange.calls:
            if call.id:
                yield ("call", call.id), False
        answer = list(_turns(exchange.answered.messages[:1]))
        if answer:
            parts = answer[0][1]
            before = len(self._turns)
            if before and self._turns[-1][0] == "assistant":  # a prefilled answer goes on in the next one
                before, parts = before - 1, [*self._turns[-1][1], *parts]
            yield ("chain", _linked(self._chain[before - 1] if before else b"", "assistant", parts)), False
            if _length(parts) >= TAIL_LENGTH:
                yield ("tail", self._client, _digest(parts)), True


Turn = tuple[str, list[tuple[str, ...]]]


def _turns(messages: Sequence[Message]) -> Iterator[Turn]:
    """Roles and what they said, without what clients change; one turn for messages of one role in a row."""
    held: Turn | None = None
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            continue
        parts = [kept for part in message["parts"] if (kept := _kept(part)) is not None]
        if not parts:
            continue
        if role == "user" and all(part[0] == "result" for part in parts):
            role = "tool"
        if held is not None and held[0] == role:
            held[1].extend(parts)
            continue
        if held is not None:
            yield held
        held = (role, parts)
    if held is not None:
        yield held


def _kept(part: Part) -> tuple[str, ...] | None:
    match part["type"]:
        case "text":
            text = _REMINDER.sub("", part["content"]).strip()
            return ("text", text) if text else None
        case "tool_call":
            return ("call", part["id"], part["name"])
        case "tool_call_response":
            return ("result", part["id"])
        case "blob":
            return ("blob", str(part.get("sha256", "")))
        case "uri":
            return ("uri", str(part.get("uri", "")))
    return None  # reasoning, server tools: some clients send them back, some do not


def _chain(turns: Sequence[Turn]) -> list[bytes]:
    """For each turn the hash of the conversation up to it."""
    hashes = []
    hashed = b""
    for role, parts in turns:
        hashed = _linked(hashed, role, parts)
        hashes.append(hashed)
    return hashes


def _linked(before: bytes, role: str, parts: Sequence[tuple[str, ...]]) -> bytes:
    """The hash of a conversation that goes on with this turn."""
    return blake2b(before + orjson.dumps([role, parts]), digest_size=16).digest()


def _digest(parts: Sequence[tuple[str, ...]]) -> bytes:
    return blake2b(orjson.dumps(parts), digest_size=16).digest()


def _length(parts: Sequence[tuple[str, ...]]) -> int:
    return sum(len(part[1]) for part in parts if part[0] == "text")
