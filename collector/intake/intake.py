"""The one way in, whatever the door: who sends it, is there room for it, what does it hold, is it safe now.

    authenticate   before a byte of the body is read
    reserve        memory for the body, by its bytes
    take           inflate within bounds → judge item by item → journal → the acknowledgement

A request is only called accepted once its journal record has reached the acknowledgement level. Doors differ in
how they wait (an event loop, a thread) and in how they word the outcome; everything else is here. What the collector
makes by itself, such as the proxy's spans, comes in by `submit`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

from collector.doors.gate import Caller, Gate
from collector.doors.keys import Scope
from collector.intake import inflate
from collector.intake.counted import IntakeStats
from collector.intake.memory import SMALLEST_BUDGET, Budget, Reservation
from collector.intake.outcome import Outcome, Verdict
from collector.intake.quota import Account, Quotas
from collector.intake.resends import Resends
from collector.journal import Header, Journal, JournalError
from collector.otlp import Checked, NotOtlpError, Signal, check, transcode
from collector.otlp.limits import DEFAULT, Limits, TooManyError
from collector.telemetry.operations import Kind, Operation, Operations
from collector.telemetry.telemetry import about, harmless

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1
"""Exporters give up after 10 s in all, so they are asked back soon."""
ADMISSION_S = 0.25
"""Longest wait for memory before a client is asked to come back."""
COMMIT_S = 8.0
"""Longest wait for the journal: an exporter that has no answer after 10 s drops its batch."""
OVER_QUOTA = "the project is over its quota"
NO_ROOM = "too much is on its way"
COMPRESSED_WEIGHT = 4
"""A compressed body counts so many times its bytes until it is inflated."""


INSIDE = "proxy"
"""Transport of what comes from within the process: nobody else has it, so that it is taken until the end."""
HELD_TO_QUOTAS = ("http", "grpc")
"""Transports by which no more is taken than quotas say. What the proxy relayed has happened by now, and who imports has
decided to."""


FAULT_TRIES = 3
MAX_FAULTS = 1000
WARN_EVERY_S = 600.0
MAX_WARNED = 10_000


class OverQuotaError(Exception):
    """The project has sent more than it may.

    Args:
        wait_s: when it may send this.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(OVER_QUOTA)
        self.wait_s = wait_s


class NoRoomError(Exception):
    """Nothing can be taken now; the same request may be taken in a moment."""


@dataclass(slots=True)
class Submission:
    """A request as its door read it."""

    signal: Signal
    body: bytes
    transport: str
    json: bool = False
    encoding: str = ""
    """Content-Encoding that the body still has."""
    tenant: str = ""
    project: str = ""
    reservation: Reservation | None = None
    """Memory held for the body; `take` lets it go when the request has ended."""


def _not_kept(request: Submission, reason: str) -> None:
    """While the collector starts there is no place yet for what can not be read."""
    raise OSError("the collector is starting")


class Intake:
    """Takes requests of all signals.

    Args:
        journals: by signal name; a signal without one is answered and counted, not stored.
        budget: memory that all requests on their way share.
        gate: knows whom a request comes from; lets everybody send unless given.
        quotas: how much projects may send; any number unless given.
        max_body_bytes: of a body once it is inflated.
    """

    def __init__(
        self,
        journals: Mapping[str, Journal],
        *,
        limits: Limits = DEFAULT,
        budget: Budget | None = None,
        gate: Gate | None = None,
        quotas: Quotas | None = None,
        operations: Operations | None = None,
        max_body_bytes: int = 64 << 20,
    ) -> None:
        self._journals = journals
        self._lock = threading.Lock()
        self.limits = limits
        self.budget = budget or Budget(SMALLEST_BUDGET)
        self.gate = gate or Gate(None)
        self.quotas = quotas or Quotas()
        self.max_body_bytes = max_body_bytes
        self._resends: Resends[tuple[Outcome, int]] = Resends()
        self.stats = IntakeStats()
        self._faults: Counter[bytes] = Counter()
        """Requests that met a fault of ours, by the digest of their body."""
        self._warned: dict[str, float] = {}
        """When each peer was last warned."""
        self.operations = operations or Operations()
        """How long requests took of late, from when their bodies were there."""
        self._timed: dict[tuple[str, Signal], Operation] = {}
        self.draining = False
        """Refuse everything: the collector is about to end."""
        self.taken: Callable[[str, Header, bytes], None] = lambda signal, header, body: None
        """Told of each request that is safe. Must neither fail nor wait."""
        self.counted: Callable[[], None] = lambda: None
        """Told when a request has ended. Must neither fail nor wait."""
        self.given_up: Callable[[Submission, str], None] = _not_kept
        """Keeps a request that a fault of ours keeps us from reading, before its client is told so.

        Raises: OSError: it is not kept; the client is asked to come back.
        """

    def authenticate(self, authorization: str, api_key: str, peer: str, tenant: str | None = None) -> Caller:
        """Whom a request comes from, or in whose name: `tenant`, if it names one.

        Raises: UnauthenticatedError, ForbiddenError.
        """
        return self.gate.admit(Scope.INGEST, authorization, api_key, peer).of_tenant(tenant)

    def said(self, outcome: Outcome, peer: str) -> str:
        """What the answer to an accepted request says: why items were rejected; else what its sender should know,
        which each peer is told once in ten minutes."""
        warning = outcome.warning
        if not warning or outcome.message:
            return outcome.message
        now = time.monotonic()
        with self._lock:
            if now - self._warned.get(peer, -WARN_EVERY_S) < WARN_EVERY_S:
                return ""
            if len(self._warned) >= MAX_WARNED:
                self._warned.clear()
            self._warned[peer] = now
        log.warning("%s is warned: %s", peer or "a client", warning, extra=about(outcome.tenant))
        return warning

    def reserve(self) -> Reservation:
        """Memory for a request; nothing is held until it grows. `take` lets it go, or whoever does not come to
        that."""
        return Reservation(self.budget)

    def seen(self) -> IntakeStats:
        """What was counted until now."""
        with self._lock:
            by_door = {door: replace(counted) for door, counted in self.stats.by_door.items()}
            rejections, changes = self.stats.rejections.copy(), self.stats.changes.copy()
            over_quota = self.stats.over_quota.copy()
        clients = Counter(dict(list(self.stats.clients.items())))
        return IntakeStats(by_door, clients, rejections, changes, over_quota)

    def refuse(self, signal: Signal, transport: str) -> Outcome:
        """The outcome of a request for which there is no room; it is counted."""
        outcome = Outcome(Verdict.REFUSED, message=NO_ROOM)
        self._operation(signal, transport).failed(None, _why(outcome))
        self._count(signal, transport, outcome, 0)
        return outcome

    def unread(self, signal: Signal, transport: str) -> None:
        """Counts a request of which the door can tell nothing but that it ended before it was there."""
        with self._lock:
            counted = self.stats.of(transport, signal)
            counted.requests += 1
            counted.unread_requests += 1
        self.counted()

    def over_quota(
        self, signal: Signal, transport: str, tenant: str, project: str, size: int
    ) -> Outcome | None:
        """The outcome of a request whose project has sent so much that none of `size` bytes is taken, which can be said
        before it is read; it is counted. None if it may be: whether it is, `take` knows."""
        account = self._account(signal, tenant, project)
        if account is None or not (wait_s := account.ask(1, size)):
            return None
        outcome = _over_quota(wait_s)
        self._operation(signal, transport).failed(None, _why(outcome))
        self._count(signal, transport, outcome, 0)
        self._tell_over_quota(tenant, project)
        return outcome

    def _account(self, signal: Signal, tenant: str, project: str) -> Account | None:
        # Metrics are answered and not stored.
        return None if signal is Signal.METRICS else self.quotas.of(tenant, project)

    def _tell_over_quota(self, tenant: str, project: str) -> None:
        with self._lock:
            self.stats.saw_over_quota(tenant, project)
        # Each project is a kind of its own to who keeps lines of a kind back.
        log.warning(f"project {harmless(project)!r} is over its quota", extra=about(tenant))

    def submit(
        self, signal: Signal, body: bytes, *, tenant: str, project: str, done: Callable[[Outcome], None]
    ) -> None:
        """Takes a request that the collector made by itself, in protobuf. It is judged like any other, but taken
        until the end."""
        self.take(Submission(signal, body, INSIDE, tenant=tenant, project=project), done)

    def take(self, request: Submission, done: Callable[[Outcome], None]) -> None:
        """Inflates, judges and journals a request. `done` is called once, now or from the journal's thread."""
        began = time.monotonic()
        known = None if request.encoding or request.json else request.body
        account = self._account(request.signal, request.tenant, request.project)
        items = charged = 0

        def end(outcome: Outcome, accepted: int = 0, *, resent: bool = False, refused: int = 0) -> None:
            if request.reservation is not None:
                request.reservation.release()
            self._time(request, outcome, accepted, time.monotonic() - began, known)
            self._count(request.signal, request.transport, outcome, accepted, resent=resent, refused=refused)
            done(outcome)

        def fail(error: Exception) -> None:
            if account is not None and charged:
                account.add(-items, -charged)
            end(self._not_taken(request, error), refused=items)

        form = "json" if request.json else "protobuf"
        key = Resends.key(
            request.body, request.signal, request.tenant, request.project, request.encoding, form
        )
        if (before := self._resends.answer(key)) is not None:
            end(*before, resent=True)
            return
        try:
            checked, size = self._judge(request)
            known, items = checked.body, checked.accepted
            if account is not None and items:
                _charge(account, request, items, size)
                charged = size
            accepted = _accepted(request, checked)
            journal = self._journals.get(request.signal)
            if journal is None or not items:
                end(accepted, items)
                return
            header = Header(time.time_ns(), request.tenant, request.project, request.transport, items)

            def journalled(error: Exception | None) -> None:
                if error is not None:
                    fail(error)
                    return
                self._resends.remember(key, (accepted, items))
                self.taken(request.signal, header, checked.body)
                end(accepted, items)

            journal.append(header, checked.body, journalled)
        except Exception as error:
            fail(error)

    def _not_taken(self, request: Submission, error: Exception) -> Outcome:
        """How a request ended of which nothing could be taken."""
        match error:
            case NotOtlpError() | inflate.CorruptBodyError():
                return Outcome(Verdict.BAD, message=str(error))
            case TooManyError() | inflate.TooLargeError():
                return Outcome(Verdict.TOO_LARGE, message=str(error))
            case inflate.UnknownEncodingError():
                return Outcome(Verdict.UNKNOWN_ENCODING, message=str(error))
            case OverQuotaError(wait_s=wait_s):
                self._tell_over_quota(request.tenant, request.project)
                return _over_quota(wait_s)
            case NoRoomError() | JournalError():
                return Outcome(Verdict.REFUSED, message=str(error))
        log.error(
            "a %s request could not be judged", request.signal, extra=about(request.tenant), exc_info=error
        )
        return self._faulty(request)

    def inflated(self, request: Submission) -> bytes:
        """The request's body without its Content-Encoding.

        Raises: CorruptBodyError, TooLargeError, UnknownEncodingError.
        """
        return inflate.inflate(request.encoding, request.body, self.max_body_bytes, self.limits.inflate_ratio)

    def _judge(self, request: Submission) -> tuple[Checked, int]:
        """What of the request can be stored, and how many bytes it has without its Content-Encoding."""
        if self.draining and request.transport != INSIDE:
            raise NoRoomError("the collector is shutting down")
        body = self.inflated(request)
        if request.reservation is not None and not request.reservation.grow_to(len(body)):
            raise NoRoomError(NO_ROOM)
        judge = transcode if request.json else check
        return judge(request.signal, body, self.limits), len(body)

    def _faulty(self, request: Submission) -> Outcome:
        """A fault of ours must not cost the client its data: it may find us mended, or another replica. But what
        fails again and again would hold up all that waits behind it at the client: it is kept here."""
        digest = blake2b(request.body, digest_size=16).digest()
        with self._lock:
            self._faults[digest] += 1
            if len(self._faults) > MAX_FAULTS:
                del self._faults[next(iter(self._faults))]
            if self._faults[digest] <= FAULT_TRIES:
                return Outcome(Verdict.REFUSED, message="internal error")
        try:
            self.given_up(request, "a fault of the collector, each time that it was sent")
        except OSError as error:
            log.error("a request that can not be read is not kept: %s", error, extra=about(request.tenant))
            return Outcome(Verdict.REFUSED, message="internal error")
        said = "internal error, each time: this request can not be read here; it is kept as a dead letter"
        return Outcome(Verdict.BAD, message=said)

    def _time(
        self, request: Submission, outcome: Outcome, accepted: int, seconds: float, known: bytes | None
    ) -> None:
        """`known`: the request in protobuf, if it came to that."""
        operation = self._operation(request.signal, request.transport)
        told = {"tenant": request.tenant, "items": accepted, "bytes": len(request.body)}
        if outcome.verdict is Verdict.ACCEPTED and not outcome.rejected:
            operation.took(seconds, told, known)
        else:
            operation.failed(seconds, _why(outcome), told, known)

    def _operation(self, signal: Signal, transport: str) -> Operation:
        door = transport, signal
        found = self._timed.get(door)
        if found is None:
            kind = Kind.REQUEST if transport != INSIDE else Kind.UNTOLD
            found = self._timed[door] = self.operations.of(f"receive {signal.value} over {transport}", kind)
        return found

    def _count(
        self,
        signal: Signal,
        transport: str,
        outcome: Outcome,
        accepted: int,
        *,
        resent: bool = False,
        refused: int = 0,
    ) -> None:
        with self._lock:
            counted = self.stats.of(transport, signal)
            counted.requests += 1
            counted.accepted += accepted
            counted.resent += accepted if resent else 0
            counted.resent_requests += resent
            counted.refused += refused
            counted.rejected += outcome.rejected
            for reason, count in outcome.rejections.items():
                self.stats.rejections[signal, reason] += count
            if outcome.changes and not resent:
                for change, count in outcome.changes.items():
                    self.stats.changes[signal, change] += count
            counted.bad_requests += outcome.verdict not in _NOT_BAD
            counted.refused_requests += outcome.verdict is Verdict.REFUSED
            counted.over_quota_requests += outcome.verdict is Verdict.OVER_QUOTA
        self.counted()
        if outcome.rejected:
            log.warning(
                "%s over %s: %d rejected: %s",
                signal,
                transport,
                outcome.rejected,
                outcome.message,
                extra=about(outcome.tenant, outcome.rejected_trace_id),
            )


_NOT_BAD = (Verdict.ACCEPTED, Verdict.REFUSED, Verdict.OVER_QUOTA)


def _accepted(request: Submission, checked: Checked) -> Outcome:
    return Outcome(
        Verdict.ACCEPTED,
        checked.rejected,
        checked.reasons,
        checked.warnings,
        checked.rejections,
        checked.changes,
        checked.rejected_trace_id,
        request.tenant,
    )


def _over_quota(wait_s: float) -> Outcome:
    return Outcome(Verdict.OVER_QUOTA, message=OVER_QUOTA, retry_after_s=math.ceil(wait_s))


def _charge(account: Account, request: Submission, items: int, size: int) -> None:
    """Raises: OverQuotaError."""
    if request.transport not in HELD_TO_QUOTAS:
        account.add(items, size)
    elif wait_s := account.take(items, size):
        raise OverQuotaError(wait_s)


def _why(outcome: Outcome) -> str:
    """Why not all of a request is safe, without what the client sent."""
    if outcome.verdict is Verdict.ACCEPTED:
        return f"rejected: {outcome.message}"
    if outcome.verdict is Verdict.UNKNOWN_ENCODING:  # the message names it
        return str(outcome.verdict.value)
    return f"{outcome.verdict.value}: {outcome.message}"
