"""OTLP/HTTP as a bare ASGI application: content types, bodies, and answers in OTLP's own words.

No framework stands between the server and the intake: a route table would cost more than the whole check.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from collector.doors.deadlines import Deadlines
from collector.doors.gate import Caller, ForbiddenError, UnauthenticatedError
from collector.intake import inflate
from collector.intake.intake import (
    ADMISSION_S,
    COMMIT_S,
    COMPRESSED_WEIGHT,
    RETRY_AFTER_S,
    Intake,
    Submission,
)
from collector.intake.memory import Reservation
from collector.intake.outcome import Outcome, Verdict
from collector.otlp import Signal
from collector.otlp.status import JSON, PROTOBUF, Code, error_status, export_response
from collector.receivers.senders import Senders

log = logging.getLogger(__name__)

_CONTENT_TYPES = {
    "application/x-protobuf": PROTOBUF,
    "application/protobuf": PROTOBUF,
    "application/vnd.google.protobuf": PROTOBUF,
    "application/json": JSON,
}
_TAKES_GZIP = re.compile(rb"(?:\bgzip|\*)(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)
_TWICE = re.compile(r"/v1/(traces|logs|metrics)/v1/\1/?$")
_SIGNALS = {signal.value: signal for signal in Signal}
ACCEPT_POST = "application/x-protobuf, application/json"

THREAD_FROM_BYTES = 512 << 10
"""Bodies from here on, a millisecond's work, are judged in a thread, so that one large request does not hold up the
others; compressed ones from a quarter of it."""
MAX_HINTED = 1000
COMPRESS_FROM_BYTES = 1024
"""Answers from here on are compressed for clients that take it; most have none, or a line."""
DISCARD_BYTES = 1 << 20
"""Of a body that is refused, so much is read and thrown away, that the client sees the answer and no reset."""
DISCARD_S = 2.0
SLOWEST_BYTES_PER_S = 256 << 10
"""How fast a body must come, beyond the time that any may take."""

_ANSWERS = {
    Verdict.BAD: (400, Code.INVALID_ARGUMENT),
    Verdict.TOO_LARGE: (413, Code.RESOURCE_EXHAUSTED),
    Verdict.UNKNOWN_ENCODING: (415, Code.INVALID_ARGUMENT),
}


class _RefusalError(Exception):
    """An answer other than success.

    Args:
        unread: whether a body may still be on its way.
    """

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        unread: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})
        self.unread = unread


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may take on the wire: bytes, and seconds of silence and in all."""

    max_bytes: int = 64 << 20
    idle_s: float = 5.0
    total_s: float = 30.0
    """For the first bytes; one second more for each 256 KiB."""


class HttpReceiver:
    """The ASGI application.

    Args:
        client_projects: by the names in clients' certificates.
        paths: at which a signal is taken, besides those that end in `/v1/` and its name.
    """

    def __init__(
        self,
        intake: Intake,
        body_limits: BodyLimits | None = None,
        client_projects: Mapping[str, str] | None = None,
        paths: Mapping[str, Signal] | None = None,
    ) -> None:
        self._intake = intake
        self._paths = paths or {}
        self._senders = Senders(intake, str.encode, _text, client_projects)
        self.limits = body_limits or BodyLimits()
        self._hinted: set[str] = set()
        self._silent = Deadlines(self.limits.idle_s)
        self._commits = Deadlines(COMMIT_S)
        self._returns: _Returns | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        content_type = _CONTENT_TYPES.get(_media_type(headers), "")
        answer_type = content_type or JSON
        try:
            signal = self._route(scope)
            outcome = await self._export(signal, headers, content_type, scope, receive)
            self._raise_unless_accepted(outcome)
        except _RefusalError as refusal:
            if refusal.unread and not await _discarded(headers, receive):
                refusal.headers["Connection"] = "close"
            body = error_status(refusal.code, str(refusal), answer_type)
            await _answer(send, refusal.status, answer_type, body, headers, refusal.headers)
            return
        said = self._intake.said(outcome, _peer(scope))
        body = export_response(signal, answer_type, outcome.rejected, said)
        await _answer(send, 200, answer_type, body, headers)

    async def _export(
        self, signal: Signal, headers: dict[bytes, bytes], content_type: str, scope: Scope, receive: Receive
    ) -> Outcome:
        """Raises: _RefusalError."""
        caller = await self._caller(headers, _peer(scope))
        if not content_type:
            given = headers.get(b"content-type", b"").decode("latin-1")[:64]
            said = f"Content-Type {given!r} is not taken" if given else "Content-Type is missing"
            raise _RefusalError(
                415, Code.INVALID_ARGUMENT, f"{said}; send {ACCEPT_POST}", {"Accept-Post": ACCEPT_POST}
            )
        declared = _declared_length(headers)
        if declared > self.limits.max_bytes:
            raise self._too_large()
        project = self._senders.project(caller, headers, lambda: scope.get("client_names", ()))
        if over := self._intake.over_quota(signal, "http", caller.tenant, project, declared):
            raise _come_back(over)
        encoding = _encoding(scope)
        weight = COMPRESSED_WEIGHT if inflate.is_compressed(encoding) else 1
        reservation = self._intake.reserve()
        try:
            if not await _grown(reservation, max(declared, 1) * weight):
                raise self._no_room(signal)
            body = await self._body(signal, receive, reservation, weight)
            request = Submission(
                signal,
                body,
                "http",
                json=content_type == JSON,
                encoding=encoding,
                tenant=caller.tenant,
                project=project,
                reservation=reservation,
            )
        except BaseException:
            reservation.release()
            raise
        return await self._take(request, in_thread=len(body) * weight >= THREAD_FROM_BYTES)

    def _route(self, scope: Scope) -> Signal:
        path: str = scope["path"]
        signal = self._paths.get(path) or _signal(path)
        if signal is None:
            peer = _peer(scope)
            if path == "/":
                self._hint(peer, "posts to /; its endpoint must end in /v1/traces, /v1/logs or /v1/metrics")
            raise _RefusalError(
                404,
                Code.UNIMPLEMENTED if "profiles" in path else Code.NOT_FOUND,
                "profiles are not supported"
                if "profiles" in path
                else f"nothing is received at {path[:64]!r}; send to /v1/traces, /v1/logs or /v1/metrics",
            )
        if _TWICE.search(path):  # what is asked for is clear, and the Python SDK asks like this
            self._hint(
                _peer(scope), "names its path twice: exporters add /v1/… to their endpoint by themselves"
            )
        if scope["method"] != "POST":
            raise _RefusalError(
                405, Code.UNIMPLEMENTED, "only POST is taken here", {"Allow": "POST, OPTIONS"}
            )
        return signal

    def _hint(self, peer: str, what: str) -> None:
        """Says once to a peer's owner what could be better."""
        if peer not in self._hinted and len(self._hinted) < MAX_HINTED:
            self._hinted.add(peer)
            log.warning("an exporter at %s %s", peer or "a Unix socket", what)

    async def _caller(self, headers: dict[bytes, bytes], peer: str) -> Caller:
        """Raises: _RefusalError."""
        try:
            return self._senders.admit(headers, peer)
        except UnauthenticatedError as error:
            await asyncio.sleep(self._intake.gate.pause_s(peer))
            raise _RefusalError(
                401, Code.UNAUTHENTICATED, str(error), {"WWW-Authenticate": 'Bearer realm="eddyline"'}
            ) from None
        except ForbiddenError as error:
            raise _RefusalError(403, Code.PERMISSION_DENIED, str(error)) from None

    async def _body(self, signal: Signal, receive: Receive, reservation: Reservation, weight: int) -> bytes:
        """The body as it was sent, however it was cut on the way.

        Raises: _RefusalError.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        parts: list[bytes] = []
        try:
            message = await self._begun(receive, loop)
            size = self._add(message, parts, 0)
            if message.get("more_body"):
                async with asyncio.timeout(None) as timer:
                    while message.get("more_body"):
                        if size * weight > reservation.size and not await _grown(reservation, size * weight):
                            raise self._no_room(signal)
                        ends = started + self.limits.total_s + size / SLOWEST_BYTES_PER_S
                        timer.reschedule(min(loop.time() + self.limits.idle_s, ends))
                        message = await receive()
                        size = self._add(message, parts, size)
        except TimeoutError:
            raise _RefusalError(
                408, Code.INVALID_ARGUMENT, "the body came too slowly", {"Connection": "close"}, unread=False
            ) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _begun(self, receive: Receive, loop: asyncio.AbstractEventLoop) -> Message:
        """The beginning of a body, which is all of it for most.

        Raises: TimeoutError.
        """
        task = asyncio.current_task(loop)
        assert task is not None
        if self._silent.seconds != self.limits.idle_s:
            self._silent = Deadlines(self.limits.idle_s)
        wait = self._silent.begin(loop, task.cancel)
        try:
            return await receive()
        except asyncio.CancelledError:
            if wait.expired and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            wait.cancel()

    def _add(self, message: Message, parts: list[bytes], size: int) -> int:
        """Adds a part to those that came before; returns how many bytes they are.

        Raises: _RefusalError.
        """
        if message["type"] == "http.disconnect":
            raise _RefusalError(400, Code.INVALID_ARGUMENT, "the body ended too early", unread=False)
        part = message.get("body", b"")
        if size + len(part) > self.limits.max_bytes:
            raise self._too_large()
        parts.append(part)
        return size + len(part)

    def _no_room(self, signal: Signal) -> _RefusalError:
        return _unavailable(self._intake.refuse(signal, "http").message, unread=True)

    def _too_large(self) -> _RefusalError:
        said = f"the body is larger than {self.limits.max_bytes} bytes"
        return _RefusalError(413, Code.RESOURCE_EXHAUSTED, said, {"Connection": "close"})

    async def _take(self, request: Submission, *, in_thread: bool) -> Outcome:
        """Raises: _RefusalError."""
        loop = asyncio.get_running_loop()
        if self._returns is None or self._returns.loop is not loop:
            self._returns = _Returns(loop)
        taken: asyncio.Future[Outcome] = loop.create_future()
        hand_back = partial(self._returns.hand_back, taken)
        if in_thread:
            await asyncio.to_thread(self._intake.take, request, hand_back)
        else:
            self._intake.take(request, hand_back)
        wait = self._commits.begin(loop, taken.cancel)
        try:
            return await taken
        except asyncio.CancelledError:
            if wait.expired:
                raise _unavailable("the journal did not answer in time") from None
            raise
        finally:
            wait.cancel()

    def _raise_unless_accepted(self, outcome: Outcome) -> None:
        """Raises: _RefusalError."""
        if outcome.verdict is Verdict.ACCEPTED:
            return
        if outcome.verdict is Verdict.REFUSED:
            raise _unavailable(outcome.message)
        if outcome.verdict is Verdict.OVER_QUOTA:
            raise _come_back(outcome, unread=False)
        status, code = _ANSWERS[outcome.verdict]
        headers = {"Accept-Encoding": inflate.ACCEPTED} if status == 415 else {}
        raise _RefusalError(status, code, outcome.message, headers, unread=False)


class _Returns:
    """Outcomes on their way from other threads to the event loop, which takes all that wait in one step."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[tuple[asyncio.Future[Outcome], Outcome]] = deque()
        self._is_called = False

    def hand_back(self, taken: asyncio.Future[Outcome], outcome: Outcome) -> None:
        self._waiting.append((taken, outcome))
        if not self._is_called:
            self._is_called = True
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._is_called = False  # before anything is taken: what comes from now on calls again
        while self._waiting:
            taken, outcome = self._waiting.popleft()
            if not taken.done():
                taken.set_result(outcome)


def _peer(scope: Scope) -> str:
    return (scope.get("client") or ("",))[0]


def _signal(path: str) -> Signal | None:
    """By the end of the path, because exporters put all sorts of prefixes before it."""
    prefix, _, name = path.removesuffix("/").rpartition("/")
    return _SIGNALS.get(name) if prefix.endswith("/v1") else None


def _media_type(headers: dict[bytes, bytes]) -> str:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()


def _encoding(scope: Scope) -> str:
    """Its Content-Encoding; several lines of it are one list."""
    given = [value for name, value in scope["headers"] if name == b"content-encoding"]
    return b", ".join(given).decode("latin-1")


def _declared_length(headers: dict[bytes, bytes]) -> int:
    declared = headers.get(b"content-length", b"0")
    return int(declared) if declared.isdigit() else 0


def _unavailable(message: str, *, unread: bool = False) -> _RefusalError:
    # Spread a little, so that those who were sent away together do not come back together.
    seconds = RETRY_AFTER_S + random.getrandbits(1)
    return _RefusalError(503, Code.UNAVAILABLE, message, {"Retry-After": str(seconds)}, unread=unread)


def _come_back(over_quota: Outcome, *, unread: bool = True) -> _RefusalError:
    headers = {"Retry-After": str(over_quota.retry_after_s)}
    return _RefusalError(429, Code.RESOURCE_EXHAUSTED, over_quota.message, headers, unread=unread)


async def _grown(reservation: Reservation, size: int) -> bool:
    """Whether there was room within `ADMISSION_S`."""
    if reservation.grow_to(size):
        return True
    for _ in range(round(ADMISSION_S / 0.01)):
        await asyncio.sleep(0.01)
        if reservation.grow_to(size):
            return True
    return False


async def _discarded(headers: dict[bytes, bytes], receive: Receive) -> bool:
    """Reads what is left of a body, so that the client sees the answer and no reset; False if it is too much, or
    not sent yet."""
    if b"content-length" not in headers and b"transfer-encoding" not in headers:
        return True
    if b"expect" in headers:  # reading would ask for the body
        return False
    left = DISCARD_BYTES
    try:
        async with asyncio.timeout(DISCARD_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b"")) or 1
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return True
    except TimeoutError:
        pass
    return False


async def _answer(
    send: Send,
    status: int,
    content_type: str,
    body: bytes,
    request_headers: Mapping[bytes, bytes],
    headers: Mapping[str, str] | None = None,
) -> None:
    sent = [(name.encode().lower(), value.encode()) for name, value in (headers or {}).items()]
    if len(body) >= COMPRESS_FROM_BYTES and _TAKES_GZIP.search(request_headers.get(b"accept-encoding", b"")):
        body = gzip.compress(body, 1)
        sent.append((b"content-encoding", b"gzip"))
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            *sent,
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
