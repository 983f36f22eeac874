"""Takes finished tapes off the event loop, reads them in a thread of its own, and hands on what they come to.

Forwarding comes first, then what is known of a call, then what was said in it: when tapes come faster than they are
read, those that wait lose their content, the oldest first; then the oldest are dropped. Each is counted, and the
traffic never waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from secrets import token_hex
from typing import Any, Protocol, TypeVar

from starlette.types import Scope

from collector.config import ProxyCapture
from collector.proxy.app import Recorder
from collector.proxy.archive import Archive
from collector.proxy.background import Background, may_bring_an_end
from collector.proxy.capture import Capture, Policy
from collector.proxy.context import Context
from collector.proxy.exchange import Exchange, read_exchange
from collector.proxy.framelog import FrameTape
from collector.proxy.observing import Observers
from collector.proxy.pending import Pending
from collector.proxy.routes import Route
from collector.proxy.session_file import SessionFile
from collector.proxy.sessions import Resolver
from collector.proxy.spans import spans_of, unanswered
from collector.proxy.spool import Spool
from collector.proxy.tape import Budget, Ending, Tape
from collector.proxy.tries import Tries
from collector.proxy.wire import WireCapture
from collector.telemetry.telemetry import about

log = logging.getLogger(__name__)


GATHER_S = 0.1
"""How long calls that have ended wait for others. Reading them takes the interpreter from the traffic: in one go
instead of beside every call, most calls do not feel it."""
LOOK_S = 10.0
"""How often it is looked for tool calls that nobody answers."""
BATCH_BYTES = 1 << 20
"""Spans that are handed on together: what comes after handles each request by itself."""


Owner = tuple[str, str]
"""(tenant, project) of spans"""


class Outlet(Protocol):
    """Where spans go. Takes them now or keeps them for another try, within bounds; never raises."""

    def send(self, owner: Owner, body: bytes) -> None: ...

    def close(self, timeout: float) -> None:
        """Waits, for so many seconds at most, until what was taken is safe."""

    def document(self) -> dict[str, Any]:
        """What was sent and lost, for the status."""


_T = TypeVar("_T", bound=Tape)


@dataclass(slots=True)
class RecorderCounts:
    recorded: int = 0
    without_content: int = 0
    """Tapes that lost their content while they waited."""
    dropped: int = 0
    failed: int = 0
    """Tapes that could not be read: a fault of ours."""


class ExchangeRecorder(Recorder):
    """Reads tapes in a thread.

    Args:
        salt: of this installation, for the names of keys.
        wire: is told of every call; None if nothing is captured.
        archive: keeps calls as they passed; None if there is no store.
        observers: None loads those of installed packages.
        sessions: has what is remembered of sessions over restarts.
        by_turn: each message of a user begins a run of its own.
        tool_pending_s: how long a tool call may wait for its result before it counts as unanswered.
    """

    def __init__(
        self,
        settings: ProxyCapture,
        outlet: Outlet,
        salt: bytes,
        wire: WireCapture | None = None,
        archive: Archive | None = None,
        observers: Observers | None = None,
        sessions: SessionFile | None = None,
        *,
        by_turn: bool = False,
        tool_pending_s: float = 3600.0,
    ) -> None:
        self.capture = Capture(settings, salt)
        self.counts = RecorderCounts()
        self._limit = settings.max_body_bytes
        self._max_calls = settings.max_queue_calls
        self._budget = Budget(settings.max_queue_bytes)
        self._outlet = outlet
        self._wire = wire
        self._archive = archive
        self._observers = observers or Observers()
        self._sessions = sessions
        self._by_turn = by_turn
        self._resolver = Resolver(by_turn=by_turn)
        self._pending = Pending(round(tool_pending_s * 1e9))
        self._background = Background()
        self._tries = Tries()
        self._gathered: dict[Owner, bytearray] = {}
        self._version = version("eddyline")
        self._waiting: deque[Tape] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="proxy-recorder", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------- on the event loop

    def begin(self, scope: Scope, route: Route, context: Context) -> Tape | None:
        # A WebSocket has no method; what is asked over it is what would have been posted.
        method = scope.get("method", "POST")
        wire_only = not self.capture.wants(method, route.path, context)
        if wire_only and may_bring_an_end(method, route.path):
            wire_only = not self.capture.allows(route.path, context)
        if wire_only and (self._wire is None or not self.capture.allows(route.path, context)):
            return None
        return self._tape(Tape, method, scope, route, context, wire_only)

    def begin_frames(self, scope: Scope, route: Route, context: Context) -> Callable[[], FrameTape] | None:
        if self._wire is None or not self.capture.allows(route.path, context):
            return None
        return lambda: self._tape(FrameTape, "GET", scope, route, context, wire_only=True)

    def _tape(
        self, kind: type[_T], method: str, scope: Scope, route: Route, context: Context, wire_only: bool
    ) -> _T:
        client = scope.get("client") or ("", 0)
        return kind(
            route.upstream,
            method,
            route.path,
            context,
            token_hex(8),
            self._budget,
            self._limit,
            request_headers=scope["headers"],
            query_key=_query_key(route),
            client=client[0],
            server=(route.url.host or "", route.url.port or 0),
            over_websocket=scope["type"] == "websocket",
            wire_only=wire_only,
        )

    def finish(self, tape: Tape) -> None:
        if tape.ending is Ending.OURS and not tape.status and tape.error in ("denied", ""):
            tape.forget()
            return
        with self._wake:
            self._waiting.append(tape)
            if len(self._waiting) > self._max_calls:
                self._waiting.popleft().forget()
                self.counts.dropped += 1
            if self._budget.is_tight:
                self._make_room()
            self._wake.notify()

    def _make_room(self) -> None:
        """Takes the content from the oldest tape that has any."""
        for tape in self._waiting:
            if tape.held:
                tape.forget()
                self.counts.without_content += 1
                return

    # ------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        if self._sessions is not None:
            try:
                self._resolver = Resolver(self._sessions, by_turn=self._by_turn)
                self._pending.take_up(self._resolver.restored)
            except Exception:
                log.exception("sessions of before can not be read")
        while True:
            with self._wake:
                if not self._waiting and not self._closing:
                    self._wake.wait(LOOK_S)
                if not self._waiting and self._closing:
                    break
            if not self._closing:
                # Calls that end together are read together: one interruption of the traffic instead of many.
                time.sleep(GATHER_S)
            for _ in range(len(self._waiting)):
                with self._wake:
                    if not self._waiting:  # the oldest were dropped meanwhile
                        break
                    tape = self._waiting.popleft()
                self._record(tape)
                time.sleep(0)  # lets the event loop go first
            self._tell_unanswered()
            self._hand_on()
        self._resolver.close()

    def _tell_unanswered(self) -> None:
        now_ns = time.time_ns()
        for session, made in self._pending.overdue(now_ns):
            if spans := unanswered(session, made, now_ns, self._version):
                self._gather((session.tenant, session.project), spans)

    def _record(self, tape: Tape) -> None:
        try:
            if isinstance(tape, FrameTape):
                if self._wire is not None:
                    self._wire.record_frames(tape, self.capture.policy(tape.context))
                return
            if not tape.wire_only and (tape.method == "GET" or self._background.awaits(tape)):
                self._record_end(tape)
                return
            exchange = read_exchange(tape)
            self._tries.note(exchange)
            policy = self.capture.policy(tape.context)
            if tape.wire_only:
                self._capture(exchange, tape.context.session or None, policy)
                return
            resolved = self._resolver.resolve(exchange)
            self._capture(exchange, resolved.session.id or resolved.session.trace_id, policy)
            self._gather(_owner(tape.context), spans_of(exchange, resolved, policy, self._version))
            self._pending.note(resolved.session, self._resolver.remember(resolved.session))
            if self._archive is not None:
                self._archive.keep(exchange, resolved, policy)
            self._background.note(exchange, resolved)
            self._observers.tell(exchange, resolved, policy)
            self.counts.recorded += 1
        except Exception:
            self.counts.failed += 1
            log.exception(
                "a call of %s could not be recorded",
                tape.upstream.name,
                extra=about(tape.context.tenant, tape.context.trace_id),
            )
        finally:
            tape.forget()

    def _record_end(self, tape: Tape) -> None:
        """A request that may have brought the end of an earlier call."""
        policy = self.capture.policy(tape.context)
        self._capture(read_exchange(tape), tape.context.session or None, policy)
        if (found := self._background.ended(tape)) is not None:
            exchange, resolved = found
            self._resolver.learn(exchange, resolved.session)
            policy = self.capture.policy(exchange.tape.context)
            spans = spans_of(exchange, resolved, policy, self._version)
            self._gather(_owner(exchange.tape.context), spans)
            self._pending.note(resolved.session, self._resolver.remember(resolved.session))

    def _gather(self, owner: Owner, spans: bytes) -> None:
        """Keeps spans for `_hand_on`, or until there are enough of their project."""
        gathered = self._gathered.setdefault(owner, bytearray())
        gathered += spans  # requests one after the other are one request
        if len(gathered) >= BATCH_BYTES:
            self._outlet.send(owner, bytes(self._gathered.pop(owner)))

    def _hand_on(self) -> None:
        for owner, gathered in self._gathered.items():
            self._outlet.send(owner, bytes(gathered))
        self._gathered.clear()
        self._resolver.flush()

    def _capture(self, exchange: Exchange, session: str | None, policy: Policy) -> None:
        if self._wire is not None:
            self._wire.record(exchange, session, policy)

    def close(self, timeout: float) -> None:
        """Reads what waits, for so many seconds at most."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
        if self._wire is not None:
            self._wire.close()
        if self._archive is not None:
            self._archive.close(timeout)
        self._outlet.close(timeout)

    def document(self) -> dict[str, Any]:
        """For the status."""
        return {
            "recorded": self.counts.recorded,
            "waiting": len(self._waiting),
            "without_content": self.counts.without_content,
            "dropped": self.counts.dropped,
            "failed": self.counts.failed,
            "observers": dict(self._observers.failures),
            "outlet": self._outlet.document(),
            "archive": self._archive.document() if self._archive is not None else None,
            "wire": self._wire.document() if self._wire is not None else None,
        }


def _query_key(route: Route) -> str:
    """As Gemini's clients send it."""
    return route.url.query.get("key", "") if "key=" in route.url.raw_query_string else ""


def _owner(context: Context) -> Owner:
    return context.tenant, context.project


Take = Callable[[Owner, bytes, Callable[[bool, bool], None]], None]
"""(owner, OTLP request, what is called with (whether it is safe, whether another try makes sense))"""


class RetryingOutlet:
    """Keeps what was refused and tries it again each second, up to a number of bytes; the oldest is lost first.

    Args:
        spool: has everything until it is safe, so that it outlives the process; None keeps it in memory, for an
            intake that is in this process.
    """

    MAX_BYTES = 64 << 20
    PAUSE_S = 1.0

    def __init__(self, take: Take, spool: Spool | None = None) -> None:
        self._take = take
        self._spool = spool
        self._refused: deque[_Batch] = deque(
            _Batch(None, b"", name) for name in (spool.waiting() if spool is not None else ())
        )
        self._refused_bytes = 0
        """Of those in memory."""
        self._on_the_way = 0
        self._changed = threading.Condition()
        self._closing = False
        self.sent = 0
        self.lost = 0
        self._thread = threading.Thread(target=self._retry, name="proxy-outlet", daemon=True)
        self._thread.start()

    def send(self, owner: Owner, body: bytes) -> None:
        name = None
        if self._spool is not None:
            name, too_old = self._spool.put({"tenant": owner[0], "project": owner[1]}, body)
            with self._changed:
                self.lost += len(too_old)
        self._try(_Batch(owner, body, name))

    def _try(self, batch: _Batch) -> None:
        with self._changed:
            self._on_the_way += 1

        def done(safe: bool, again: bool) -> None:
            if batch.name is not None and self._spool is not None and (safe or not again):
                self._spool.drop(batch.name)
            with self._changed:
                self._on_the_way -= 1
                if safe:
                    self.sent += 1
                elif again:
                    self._keep(batch)
                else:
                    self.lost += 1
                self._changed.notify_all()

        try:
            owner, body = self._content(batch)
            self._take(owner, body, done)
        except _GoneError:
            with self._changed:
                self._on_the_way -= 1
        except Exception:
            tenant = batch.owner[0] if batch.owner is not None else ""
            log.exception("spans of the proxy could not be handed on", extra=about(tenant))
            done(False, False)

    def _content(self, batch: _Batch) -> tuple[Owner, bytes]:
        """Raises: _GoneError: others had to have its room, and it was counted then."""
        if batch.owner is not None:
            return batch.owner, batch.body
        found = self._spool.read(batch.name) if self._spool is not None and batch.name else None
        if found is None:
            raise _GoneError
        about, body = found
        return (str(about.get("tenant", "")), str(about.get("project", ""))), body

    def _keep(self, batch: _Batch) -> None:
        if batch.name is not None:
            self._refused.append(_Batch(None, b"", batch.name))
            return
        self._refused.append(batch)
        self._refused_bytes += len(batch.body)
        while self._refused_bytes > self.MAX_BYTES:
            self._refused_bytes -= len(self._refused.popleft().body)
            self.lost += 1

    def _retry(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing and not self._refused, self.PAUSE_S)
                if self._closing and not self._refused:
                    return
                tries, self._refused, self._refused_bytes = list(self._refused), deque(), 0
            for batch in tries:
                self._try(batch)

    def close(self, timeout: float) -> None:
        """Waits until everything is safe, for so many seconds at most; the rest of the spool is sent after the next
        start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._on_the_way and not self._refused, timeout)
            self.lost += sum(batch.name is None for batch in self._refused)
            self._refused.clear()
            self._changed.notify_all()

    def document(self) -> dict[str, Any]:
        return {"sent": self.sent, "lost": self.lost, "waiting": self._on_the_way + len(self._refused)}


@dataclass(frozen=True, slots=True)
class _Batch:
    """Spans that are on their way."""

    owner: Owner | None
    """None: only the spool has them."""
    body: bytes
    name: str | None
    """In the spool."""


class _GoneError(Exception):
    """The spool has it no more."""
