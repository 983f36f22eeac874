"""Which calls belong together, where nobody said so.

First what a client says, then what the protocol says, then what the conversation itself proves: the id of a tool
call that comes back with its result, or a history that repeats, word for word, an answer that we saw being given.
Everything is derived from the message form of `formats`, so that it holds for every API alike.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from hashlib import blake2b, sha256
from typing import Any

from collector.proxy.exchange import Exchange, Outcome
from collector.proxy.marks import Marks
from collector.proxy.session import Open, Resolved, Session, root_id_of
from collector.proxy.session_file import SessionFile, read_into, written

MAX_KEYS = 200_000
"""Marks that are remembered, over all sessions."""
TTL_NS = 24 * 3600 * 1_000_000_000
"""After so long a pause a session's marks tell nothing any more."""
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

_CLAUDE_SESSION = re.compile(r"(?:_session_|\"session_id\": ?\")([0-9a-f-]{36})(?:$|\")")
"""At the end of Claude Code's `metadata.user_id`, or within it where that is a document."""


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
        marks = Marks(exchange)
        found = self._find(exchange, marks)
        session = found.session
        self._learn(exchange, session.whole or session, marks)
        if self._by_turn and found.method not in PLACED:
            session = self._turn(exchange, session.whole or session, marks)
        for one in (session, session.whole):
            if one is not None:
                one.note_call(exchange.tape.started_ns)
        self._put(("span", exchange.tape.span_id), session)
        return Resolved(session, found.method, found.confidence)

    def learn(self, exchange: Exchange, session: Session) -> None:
        """Remembers by what its session can be known, of a call that got its answer later."""
        self._learn(exchange, session.whole or session, Marks(exchange))

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
            self._file.note(written(of, marks) | (more if of is session else {}))
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
                session = read_into(sessions, noted)
            except (KeyError, TypeError, ValueError):
                continue
            for name, value in (("marks", session), ("unclear", None)):
                for mark in noted.get(name, ()):
                    self._place(bytes.fromhex(mark), value)
            for mark in noted.get("gone", ()):
                self._known.pop(bytes.fromhex(mark), None)
        self.restored = list(sessions.values())

    # ------------------------------------------------------------------- runs within a session

    def _turn(self, exchange: Exchange, session: Session, marks: Marks) -> Session:
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

    def _find(self, exchange: Exchange, marks: Marks) -> Resolved:
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
        root = root_id_of(trace_id, started)
        context = exchange.tape.context
        return Session(identity, trace_id, root, started, started, context.run_name, tenant=context.tenant)

    # ------------------------------------------------------------------- remembering

    def _learn(self, exchange: Exchange, session: Session, marks: Marks) -> None:
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
