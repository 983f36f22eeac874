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
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import blake2b
from typing import Any

from collector.doors.gate import Caller, Gate
from collector.doors.keys import Scope
from collector.intake.memory import SMALLEST_BUDGET, Budget, Reservation
from collector.intake.quota import LONGEST_PROJECT, Account, Quotas
from collector.intake.resends import Resends
from collector.journal import Header, Journal, JournalError
from collector.otlp import Checked, NotOtlpError, Signal, check, transcode
from collector.otlp.limits import DEFAULT, Limits, TooManyError
from collector.pipeline.deadletter import DeadLettersFullError
from collector.receivers import inflate
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
MOST_CLIENTS = 200
MOST_PROJECTS = 200
OTHERS = ("", "(others)")
"""Whose requests are counted that were refused to more projects than these."""
WARN_EVERY_S = 600.0
MAX_WARNED = 10_000


class Verdict(Enum):
    """How a request ended."""

    ACCEPTED = "accepted"
    """It is safe, but for `rejected` items that never will be."""
    BAD = "bad"
    """It is no OTLP request; sending it again is no use."""
    TOO_LARGE = "too_large"
    """It has more bytes or parts than may be; it must be cut."""
    UNKNOWN_ENCODING = "unknown_encoding"
    """Its Content-Encoding is not taken."""
    REFUSED = "refused"
    """Not now; the same request may be taken in a moment."""
    OVER_QUOTA = "over_quota"
    """Not now, as its project has sent more than it may."""


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    rejected: int = 0
    message: str = ""
    """Why it was not accepted, or why the rejected items were not."""
    warning: str = ""
    """What its sender should know although all is well."""
    rejections: Mapping[str, int] = field(default_factory=dict)
    """Of the rejected items, by the reason."""
    changes: Mapping[str, int] = field(default_factory=dict)
    """What was done to items that are kept, or passed over in them, how often."""
    rejected_trace_id: str = ""
    """Trace of the first of them, if it is known."""
    tenant: str = ""
    """Whose request was accepted."""
    retry_after_s: int = 0
    """When the project may send again, if it is over its quota."""


@dataclass(slots=True)
class Counted:
    """What one transport has seen of one signal: spans, log records or data points, and requests."""

    requests: int = 0
    accepted: int = 0
    rejected: int = 0
    refused: int = 0
    """In requests that were asked to come back, also of projects over their quota, as far as these were looked into."""
    resent: int = 0
    """Accepted without being stored again, because the same request was taken a moment ago."""
    resent_requests: int = 0
    bad_requests: int = 0
    refused_requests: int = 0
    over_quota_requests: int = 0
    """Not among those that were refused."""
    unread_requests: int = 0
    """Over gRPC, that ended before their message was there: it is too large for gRPC, or its client gave up."""


@dataclass(slots=True)
class IntakeStats:
    by_door: dict[tuple[str, Signal], Counted] = field(default_factory=dict)
    clients: Counter[str] = field(default_factory=Counter)
    """Requests by what their senders call themselves."""
    rejections: Counter[tuple[Signal, str]] = field(default_factory=Counter)
    """Rejected items by the reason."""
    changes: Counter[tuple[Signal, str]] = field(default_factory=Counter)
    """What was done to items that are kept, or passed over in them, of which their senders are warned."""

    over_quota: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests that were refused as their project was over its quota, by tenant and project."""

    def saw_over_quota(self, tenant: str, project: str) -> None:
        """Counts such a request; bounded as clients are."""
        whose = tenant, project[:LONGEST_PROJECT]
        self.over_quota[
            whose if whose in self.over_quota or len(self.over_quota) < MOST_PROJECTS else OTHERS
        ] += 1

    def saw_client(self, agent: str) -> None:
        """Counts a request of who calls itself so. Bounded: a label of a metric is not for everybody to make up."""
        self.clients[agent if agent in self.clients or len(self.clients) < MOST_CLIENTS else ""] += 1

    def of(self, transport: str, signal: Signal) -> Counted:
        return self.by_door.setdefault((transport, signal), Counted())

    def accepted(self, signal: str) -> tuple[int, int]:
        """Items accepted by all doors, and how many of these were resent."""
        counted = [counted for (_, of), counted in list(self.by_door.items()) if of == signal]
        return sum(each.accepted for each in counted), sum(each.resent for each in counted)

    def add(self, others: IntakeStats) -> None:
        """Adds what others have counted."""
        for door, counted in others.by_door.items():
            mine = self.of(*door)
            for name in Counted.__dataclass_fields__:
                setattr(mine, name, getattr(mine, name) + getattr(counted, name))
        self.clients.update(others.clients)
        self.rejections.update(others.rejections)
        self.changes.update(others.changes)
        self.over_quota.update(others.over_quota)

    def document(self) -> dict[str, Any]:
        """`{transport: {signal: counts}}` for the status."""
        document: dict[str, Any] = {}
        for (transport, signal), counted in sorted(self.by_door.items()):
            document.setdefault(transport, {})[signal.value] = {
                name: getattr(counted, name) for name in Counted.__dataclass_fields__
            }
        return document


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

        Raises: DeadLettersFullError, OSError: it is not kept; the client is asked to come back.
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

        def end(outcome: Outcome, accepted: int = 0, *, resent: bool = False, refused: int = 0) -> None:
            if request.reservation is not None:
                request.reservation.release()
            self._time(request, outcome, accepted, time.monotonic() - began, known)
            self._count(request.signal, request.transport, outcome, accepted, resent=resent, refused=refused)
            done(outcome)

        key = Resends.key(
            request.body,
            request.signal,
            request.tenant,
            request.project,
            request.encoding,
            "json" if request.json else "protobuf",
        )
        if (before := self._resends.answer(key)) is not None:
            end(*before, resent=True)
            return
        items = 0
        account, spent = self._account(request.signal, request.tenant, request.project), 0
        try:
            checked, size = self._judge(request)
            known = checked.body
            items = checked.accepted
            if account is not None and items:
                _charge(account, request, items, size)
                spent = size
            accepted = Outcome(
                Verdict.ACCEPTED,
                checked.rejected,
                checked.reasons,
                checked.warnings,
                checked.rejections,
                checked.changes,
                checked.rejected_trace_id,
                request.tenant,
            )
            journal = self._journals.get(request.signal)
            if journal is None or not checked.accepted:
                end(accepted, checked.accepted)
                return

            def journalled(error: Exception | None) -> None:
                if error is None:
                    self._resends.remember(key, (accepted, checked.accepted))
                    self.taken(request.signal, header, checked.body)
                    end(accepted, checked.accepted)
                else:
                    if account is not None:
                        account.add(-items, -spent)
                    end(Outcome(Verdict.REFUSED, message=str(error)), refused=items)

            header = Header(
                time.time_ns(), request.tenant, request.project, request.transport, checked.accepted
            )
            journal.append(header, checked.body, journalled)
        except (NotOtlpError, inflate.CorruptBodyError) as error:
            end(Outcome(Verdict.BAD, message=str(error)))
        except (TooManyError, inflate.TooLargeError) as error:
            end(Outcome(Verdict.TOO_LARGE, message=str(error)))
        except inflate.UnknownEncodingError as error:
            end(Outcome(Verdict.UNKNOWN_ENCODING, message=str(error)))
        except OverQuotaError as error:
            self._tell_over_quota(request.tenant, request.project)
            end(_over_quota(error.wait_s), refused=items)
        except (NoRoomError, JournalError) as error:
            if account is not None and spent:
                account.add(-items, -spent)
            end(Outcome(Verdict.REFUSED, message=str(error)), refused=items)
        except Exception:
            log.exception("a %s request could not be judged", request.signal, extra=about(request.tenant))
            end(self._faulty(request))

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
        except (DeadLettersFullError, OSError) as error:
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
