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
from collector.proxy.session_file import SessionFile
from collector.proxy.span import Span, SpanEvent

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

PLACED = frozenset({"trace_id", "traceparent", "parent_id"})
"""Methods of calls that somebody has put into a run."""

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_CLAUDE_SESSION = re.compile(r"(?:_session_|\"session_id\": ?\")([0-9a-f-]{36})(?:$|\")")
"""At the end of Claude Code's `metadata.user_id`, or within it where that is a document."""


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

    def open_call(self, key: str, made: Open) -> None:
        self.open_calls[key] = made
        self.made.append((key, made))
        if len(self.open_calls) > MAX_OPEN_CALLS:
            self.open_calls.pop(next(iter(self.open_calls)))

    def note_result(self, call_id: str) -> None:
        if call_id in self.seen_results:
            return
        self.seen_results[call_id] = None
        self.answered.append(call_id)
        if len(self.seen_results) > MAX_SEEN_RESULTS:
            self.seen_results.pop(next(iter(self.seen_results)))


@dataclass(frozen=True, slots=True)
class Resolved:
    session: Session
    method: str
    confidence: float


class Resolver:
    """Remembers sessions. Used from one thread, in the order in which calls end.

    Args:
        file: has what is remembered over restarts; None if nothing is to.
        by_turn: each message of a user begins a run of its own, of the same session.
    """

    def __init__(self, file: SessionFile | None = None, *, by_turn: bool = False) -> None:
        self._known: OrderedDict[bytes, Session | None] = OrderedDict()
        """By the hash of a mark; None: it tells nothing."""
        self._file = file
        self._by_turn = by_turn
        self._changed: list[tuple[bytes, Session | None, bool]] = []
        """(mark, session, whether it holds any more) since `remember`."""
        self.restored: list[Session] = []
        """From before a restart; what they made are their open calls."""
        if file is not None:
            self._restore(file)

    def resolve(self, exchange: Exchange) -> Resolved:
        """The session of a call."""
        marks = _Marks(exchange)
        found = self._find(exchange, marks)
        session = found.session
        self._learn(exchange, session.whole or session, marks)
        if self._by_turn and found.method not in PLACED:
            session = self._turn(exchange, session.whole or session, marks)
        for one in (session, session.whole):
            if one is not None:
                _seen(one, exchange.tape.started_ns)
        self._put(("span", exchange.tape.span_id), session)
        return Resolved(session, found.method, found.confidence)

    def learn(self, exchange: Exchange, session: Session) -> None:
        """Remembers by what its session can be known, of a call that got its answer later."""
        self._learn(exchange, session.whole or session, _Marks(exchange))

    def remember(self, session: Session) -> list[tuple[str, Open]]:
        """Notes what a call changed, for the next start; the tool calls that it made."""
        made, session.made = session.made, []
        answered, session.answered = session.answered, []
        changed, self._changed = self._changed, []
        if self._file is None:
            return made
        lines: dict[int, tuple[Session, list[str]]] = {id(session): (session, [])}
        more: dict[str, list[Any]] = {}
        for mark, of, holds in changed:
            if of is not None and holds:
                lines.setdefault(id(of), (of, []))[1].append(mark.hex())
            else:
                more.setdefault("unclear" if holds else "gone", []).append(mark.hex())
        if made:
            more["made"] = [
                [key, one.call.id, one.call.name, one.trace_id, one.span_id, one.at_ns] for key, one in made
            ]
        if answered:
            more["answered"] = answered
        for of, marks in reversed(lines.values()):  # a conversation before its turns
            self._file.note(_written(of, marks) | (more if of is session else {}))
        return made

    def flush(self) -> None:
        """Writes what is to be remembered."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _restore(self, file: SessionFile) -> None:
        """Takes up what was noted before. What can not be read is as if it had not been."""
        sessions: dict[tuple[str, str], Session] = {}
        for noted in file.read():
            try:
                session = _read(noted, sessions)
            except (KeyError, TypeError, ValueError):
                continue
            for name, value in (("marks", session), ("unclear", None)):
                for mark in noted.get(name, ()):
                    self._place(bytes.fromhex(mark), value)
            for mark in noted.get("gone", ()):
                self._known.pop(bytes.fromhex(mark), None)
        self.restored = list(sessions.values())

    # ------------------------------------------------------------------- runs within a session

    def _turn(self, exchange: Exchange, session: Session, marks: _Marks) -> Session:
        """The run of the user's message that the call is about: the last one in its history, wherever that begins.
        Without one it goes on from the tool call whose result it has, else from the newest."""
        run: Session | None = None
        keys: list[Hashable] = []
        if (turn := marks.user_turn()) is not None:
            chain, text, is_last = turn
            keys = [("turn", session.trace_id, chain), ("turn text", session.trace_id, text)]
            # A new message may say what an earlier one said; in a history that was cut it is the same one.
            run = self._get(keys[0], exchange) or (None if is_last else self._get(keys[1], exchange))
        else:
            for call_id in marks.results():
                if made := session.open_calls.get(call_id):
                    run = run or self._get(("run", made.trace_id), exchange)
            run = run or session.newest
        if run is None:
            identity = f"{session.trace_id}\0{exchange.tape.span_id}"
            run = self._session(exchange, session.id, sha256(identity.encode()).hexdigest()[:32])
            run.is_inferred, run.whole = session.is_inferred, session
            run.open_calls, run.seen_results = session.open_calls, session.seen_results
            self._put(("run", run.trace_id), run)
        for key in keys:
            self._put(key, run)
        session.newest = run
        return run

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
        session = self._known.get(_hashed(key))
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
        root = _root_id(trace_id, started)
        context = exchange.tape.context
        return Session(identity, trace_id, root, started, started, context.run_name, tenant=context.tenant)

    # ------------------------------------------------------------------- remembering

    def _learn(self, exchange: Exchange, session: Session, marks: _Marks) -> None:
        project = exchange.tape.context.owner
        if exchange.answered.conversation:
            self._put((project, "conversation", exchange.answered.conversation), session)
        for key, unique in marks.left():
            whole = (project, *key)
            if unique:
                known = self._known.get(_hashed(whole), session)
                # Two sessions that said the same can not be told apart by it.
                self._put(whole, session if known is session else None)
            else:
                self._put(whole, session)
        if exchange.outcome == Outcome.COMPLETE:
            retried = _hashed((project, *marks.retry_key))
            if self._known.pop(retried, None) is not None:
                self._changed.append((retried, session, False))

    def _put(self, key: Hashable, value: Session | None) -> None:
        mark = _hashed(key)
        self._place(mark, value)
        self._changed.append((mark, value, True))

    def _place(self, mark: bytes, value: Session | None) -> None:
        self._known[mark] = value
        self._known.move_to_end(mark)
        while len(self._known) > MAX_KEYS:
            self._known.popitem(last=False)


def _hashed(key: Hashable) -> bytes:
    return blake2b(repr(key).encode(), digest_size=12).digest()


def _seen(session: Session, at_ns: int) -> None:
    session.seen_ns = at_ns
    if session.restored:
        session.restored = False
        if session.root_id:
            # What the root said of the run's beginning is not known any more: it stays as it is, beside a new one.
            session.root_id, session.started_ns = _root_id(session.trace_id, at_ns), at_ns


def _root_id(trace_id: str, started_ns: int) -> str:
    # The start is part of it: a session that goes on after we were restarted gets a root of its own.
    return sha256(f"{trace_id}\0{started_ns}".encode()).hexdigest()[:16]


def _written(session: Session, marks: list[str]) -> dict[str, Any]:
    """A session as a line of the file, without what was said in it."""
    return {
        "id": session.id,
        "tenant": session.tenant,
        "trace": session.trace_id,
        "root": session.root_id,
        "name": session.name,
        "inferred": session.is_inferred,
        "seen": session.seen_ns,
        "whole": session.whole.trace_id if session.whole else None,
        "marks": marks,
    }


def _read(noted: dict[str, Any], sessions: dict[tuple[str, str], Session]) -> Session:
    """The session of a line, with what the line adds to it.

    Raises: KeyError, TypeError, ValueError: the line is nothing of ours.
    """
    tenant, trace_id = noted["tenant"], noted["trace"]
    session = sessions.get((tenant, trace_id))
    if session is None:
        seen = int(noted["seen"])
        session = Session(noted["id"], trace_id, noted["root"], seen, seen, tenant=tenant, restored=True)
        sessions[tenant, trace_id] = session
        if noted["whole"] and (whole := sessions.get((tenant, noted["whole"]))):
            session.whole = whole
            session.open_calls, session.seen_results = whole.open_calls, whole.seen_results
    session.seen_ns, session.name = int(noted["seen"]), noted["name"]
    session.is_inferred, session.root_id = bool(noted["inferred"]), noted["root"]
    if session.whole is not None:
        session.whole.newest = session
    for key, call_id, name, of_trace, span_id, at_ns in noted.get("made", ()):
        session.open_call(key, Open(Call(call_id, name, None, 0), of_trace, span_id, int(at_ns)))
    for call_id in noted.get("answered", ()):
        session.note_result(call_id)
        session.open_calls.pop(call_id, None)
    session.answered.clear()
    return session


class _Marks:
    """What of one exchange other exchanges of its session can be known by."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._turns = list(_turns(exchange.asked.messages))
        self._chain = _chain(self._turns)
        self._client = exchange.tape.client

    def user_turn(self) -> tuple[bytes, bytes, bool] | None:
        """(hash of the conversation up to the user's last message, hash of the message, whether nothing follows it);
        None if there is none. What comes with the results of tools is no message of its own."""
        for index in range(len(self._turns) - 1, -1, -1):
            role, parts = self._turns[index]
            if role == "user" and not any(part[0] == "result" for part in parts):
                return self._chain[index], _digest(parts), index == len(self._turns) - 1
        return None

    def results(self) -> list[str]:
        """Ids of the tool calls whose results it has, the newest first."""
        return [
            part[1] for _, parts in reversed(self._turns) for part in reversed(parts) if part[0] == "result"
        ]

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
