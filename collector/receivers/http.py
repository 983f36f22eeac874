"""OTLP/HTTP as a bare ASGI application: content types, encodings, bodies, and answers in OTLP's own words.

No framework stands between the server and the intake: a route table would cost more than the whole check.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from collector.intake import RETRY_AFTER_S, Intake, Outcome, Verdict
from collector.otlp import Signal
from collector.otlp.status import JSON, PROTOBUF, Code, error_status, export_response
from collector.receivers import inflate

log = logging.getLogger(__name__)

PROJECT_HEADERS = (b"x-eddyline-project", b"x-loop-project")
_CONTENT_TYPES = {
    "application/x-protobuf": PROTOBUF,
    "application/protobuf": PROTOBUF,
    "application/vnd.google.protobuf": PROTOBUF,
    "application/json": JSON,
}
_SIGNALS = {signal.value: signal for signal in Signal}
ACCEPT_POST = "application/x-protobuf, application/json"

COMMIT_S = 8.0
"""Longest wait for the journal: an exporter that has no answer after 10 s drops its batch."""
THREAD_FROM_BYTES = 1 << 20
"""Bodies from here on are judged in a thread, so that one large request does not hold up the others."""
DISCARD_BYTES = 1 << 20
"""Of a body that is refused, so much is read and thrown away, that the client sees the answer and no reset."""


class _RefusalError(Exception):
    """An answer other than success."""

    def __init__(
        self, status: int, code: int, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class HttpReceiver:
    """The ASGI application.

    Args:
        max_body_bytes: for a body on the wire, and again once it is inflated.
    """

    def __init__(self, intake: Intake, *, max_body_bytes: int) -> None:
        self._intake = intake
        self._max_body_bytes = max_body_bytes
        self._hinted = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        content_type = _CONTENT_TYPES.get(_media_type(headers), "")
        answer_type = content_type or JSON
        try:
            outcome = await self._export(scope, headers, content_type, receive)
        except _RefusalError as refusal:
            body = error_status(refusal.code, str(refusal), answer_type)
            await _answer(send, refusal.status, answer_type, body, refusal.headers)
            return
        rejected, message = outcome.rejected, outcome.message
        signal = _signal(scope["path"])
        assert signal is not None
        await _answer(send, 200, answer_type, export_response(signal, answer_type, rejected, message), {})

    async def _export(
        self, scope: Scope, headers: dict[bytes, bytes], content_type: str, receive: Receive
    ) -> Outcome:
        """Raises: _RefusalError."""
        signal = self._route(scope)
        if not content_type:
            given = headers.get(b"content-type", b"").decode("latin-1")[:64]
            said = f"Content-Type {given!r} is not taken" if given else "Content-Type is missing"
            raise _RefusalError(
                415, Code.INVALID_ARGUMENT, f"{said}; send {ACCEPT_POST}", {"Accept-Post": ACCEPT_POST}
            )
        body = await self._body(headers, receive)
        outcome = await self._take(signal, body, content_type, headers)
        if outcome.verdict is Verdict.BAD:
            raise _RefusalError(400, Code.INVALID_ARGUMENT, outcome.message)
        if outcome.verdict is Verdict.REFUSED:
            raise _unavailable(outcome.message)
        return outcome

    def _route(self, scope: Scope) -> Signal:
        path: str = scope["path"]
        signal = _signal(path)
        if signal is None:
            if path == "/" and not self._hinted:
                self._hinted = True
                log.warning(
                    "an exporter posts to /; its endpoint must end in /v1/traces, /v1/logs or /v1/metrics"
                )
            raise _RefusalError(
                404,
                Code.UNIMPLEMENTED if "profiles" in path else Code.NOT_FOUND,
                "profiles are not supported"
                if "profiles" in path
                else f"nothing is received at {path[:64]!r}; send to /v1/traces, /v1/logs or /v1/metrics",
            )
        if scope["method"] != "POST":
            raise _RefusalError(
                405, Code.UNIMPLEMENTED, "only POST is taken here", {"Allow": "POST, OPTIONS"}
            )
        return signal

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The inflated body, however it was cut on the way.

        Raises: _RefusalError.
        """
        limit = self._max_body_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await _discard(receive)
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _RefusalError(400, Code.INVALID_ARGUMENT, "the body ended too early")
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                await _discard(receive)
                raise self._too_large()
            parts.append(part)
            if not message.get("more_body"):
                break
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        encoding = headers.get(b"content-encoding")
        if encoding is None:
            return body
        try:
            return inflate.inflate(encoding.decode("latin-1"), body, limit)
        except inflate.TooLargeError:
            raise self._too_large() from None
        except inflate.CorruptBodyError as error:
            raise _RefusalError(400, Code.INVALID_ARGUMENT, str(error)) from None
        except inflate.UnknownEncodingError as error:
            raise _RefusalError(
                415, Code.INVALID_ARGUMENT, str(error), {"Accept-Encoding": inflate.ACCEPTED}
            ) from None

    def _too_large(self) -> _RefusalError:
        said = f"the body is larger than {self._max_body_bytes} bytes"
        return _RefusalError(413, Code.RESOURCE_EXHAUSTED, said, {"Connection": "close"})

    async def _take(
        self, signal: Signal, body: bytes, content_type: str, headers: dict[bytes, bytes]
    ) -> Outcome:
        """Raises: _RefusalError."""
        loop = asyncio.get_running_loop()
        taken: asyncio.Future[Outcome] = loop.create_future()

        def settle(outcome: Outcome) -> None:
            if not taken.done():
                taken.set_result(outcome)

        def hand_back(outcome: Outcome) -> None:
            loop.call_soon_threadsafe(settle, outcome)

        def take() -> None:
            self._intake.take(
                signal,
                body,
                json=content_type == JSON,
                transport="http",
                project=_project(headers),
                done=hand_back,
            )

        if len(body) >= THREAD_FROM_BYTES:
            await asyncio.to_thread(take)
        else:
            take()
        try:
            return await asyncio.wait_for(taken, COMMIT_S)
        except TimeoutError:
            raise _unavailable("the journal did not answer in time") from None


def _signal(path: str) -> Signal | None:
    """By the end of the path, because exporters put all sorts of prefixes before it."""
    prefix, _, name = path.removesuffix("/").rpartition("/")
    return _SIGNALS.get(name) if prefix.endswith("/v1") else None


def _media_type(headers: dict[bytes, bytes]) -> str:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def _project(headers: dict[bytes, bytes]) -> str:
    for name in PROJECT_HEADERS:
        if value := headers.get(name):
            return value.decode("utf-8", "replace").strip()
    return ""


def _unavailable(message: str) -> _RefusalError:
    return _RefusalError(503, Code.UNAVAILABLE, message, {"Retry-After": str(RETRY_AFTER_S)})


async def _discard(receive: Receive) -> None:
    """Raises nothing: what can not be read is not waited for."""
    left = DISCARD_BYTES
    try:
        async with asyncio.timeout(2):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b"")) or 1
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return


async def _answer(
    send: Send, status: int, content_type: str, body: bytes, headers: Mapping[str, str]
) -> None:
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.encode().lower(), value.encode()) for name, value in headers.items()),
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
