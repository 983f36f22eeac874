"""A provider that answers from recorded calls (`eddyline mock-llm`): for tests of programs, without a network.

A request gets the recorded answer to the same request; where none is the same, to the next one for the same path, in
the order in which they were recorded. Streams come at their own pace unless told otherwise.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from collector.doors.listening import listen
from collector.proxy.app import family_by_path
from collector.proxy.errors import Error, answer
from collector.proxy.formats import format_of
from collector.proxy.relay import quiet_cut_responses

log = logging.getLogger(__name__)

HEADERS = frozenset(
    {"content-type", "retry-after", "retry-after-ms", "x-should-retry", "request-id", "x-request-id"}
)
"""Of a recorded answer, those that clients act upon."""


class RecordingError(ValueError):
    """A line is no exported call."""


@dataclass(slots=True)
class Recording:
    """One recorded call."""

    method: str
    path: str
    body: Any
    """The request's, as JSON or text; None if it was not kept."""
    status: int
    headers: list[tuple[bytes, bytes]]
    pieces: Sequence[tuple[float, bytes]]
    """(seconds since the answer began, bytes)"""
    is_whole: bool
    """The answer came to its end; another one is cut."""
    times_played: int = 0

    @property
    def api(self) -> str:
        format_ = format_of(self.path)
        return format_.api if format_ is not None else self.path


def read_recordings(lines: Iterable[bytes]) -> tuple[list[Recording], int]:
    """Calls of an export in the order in which they were made, and how many can not be played, because what was
    answered was not kept.

    Raises:
        RecordingError: naming the line.
    """
    found: list[tuple[str, Recording]] = []
    skipped = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = orjson.loads(line)
            recording = _recording(document)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise RecordingError(
                f"line {number} is no exported call ({type(error).__name__}: {error})"
            ) from None
        if recording is None:
            skipped += 1
        else:
            found.append((document["ts_start"], recording))
    found.sort(key=lambda pair: pair[0])
    return [recording for _, recording in found], skipped


def _recording(document: Mapping[str, Any]) -> Recording | None:
    response, status = document["resp"], int(document["status"])
    if status < 0:
        return None
    pieces: list[tuple[float, bytes]]
    if document["streamed"]:
        if not response.get("chunks"):
            return None
        pieces = [(delta_ms / 1000, text.encode()) for delta_ms, text in response["chunks"]]
    elif "body_b64" in response:
        pieces = [(0.0, base64.b64decode(response["body_b64"]))]
    elif response["body"] is None:
        return None
    else:
        body = response["body"]
        pieces = [(0.0, body.encode() if "parse_error" in response else orjson.dumps(body))]
    headers = [
        (name.encode("latin-1"), str(value).encode("latin-1", "replace"))
        for name, value in response["headers"].items()
        if name in HEADERS
    ]
    return Recording(
        document["method"],
        document["path"],
        document["req"].get("body"),
        status,
        headers,
        pieces,
        document["outcome"] not in ("upstream_abort", "client_abort"),
    )


class MockProvider:
    """The ASGI application.

    Args:
        speed: how many times as fast as recorded; None without any pause.
        strict: only the same request gets an answer.
    """

    def __init__(
        self, recordings: Sequence[Recording], *, speed: float | None = 1.0, strict: bool = False
    ) -> None:
        self._recordings = recordings
        self._speed = speed
        self._strict = strict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        path = scope["raw_path"].decode("latin-1")
        found = self.find(scope["method"], path, body)
        if found is None:
            headers, said = answer(
                Error.ROUTE, f"no recorded call fits {scope['method']} {path}", family_by_path(path)
            )
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": said})
            return
        await self._play(found, send)

    def find(self, method: str, path: str, body: bytes) -> Recording | None:
        """The recorded call that answers a request, and has been played least."""
        asked = _readable(body)
        on_path = [one for one in self._recordings if (one.method, one.path) == (method, path)]
        if not on_path and (format_ := format_of(path)) is not None:
            # A base URL may have been another one when it was recorded.
            on_path = [one for one in self._recordings if one.method == method and one.api == format_.api]
        same = [one for one in on_path if one.body == asked]
        if not same and not self._strict:
            wants_stream = isinstance(asked, dict) and asked.get("stream")
            alike = [
                one
                for one in on_path
                if isinstance(one.body, dict) and one.body.get("stream") == wants_stream
            ]
            same = alike or on_path
        found = min(same, key=lambda one: one.times_played, default=None)
        if found is not None:
            found.times_played += 1
        return found

    async def _play(self, found: Recording, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": found.status, "headers": found.headers}
        await send(start)
        begun = asyncio.get_running_loop().time()
        for at, piece in found.pieces:
            wait = (
                0.0 if self._speed is None else begun + at / self._speed - asyncio.get_running_loop().time()
            )
            if wait > 0:
                await asyncio.sleep(wait)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if found.is_whole:  # else the server closes the connection, as the provider did
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _body(receive: Receive) -> bytes:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


def _readable(body: bytes) -> Any:
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


async def serve(provider: MockProvider, endpoint: str, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT. `announce` is called with the URL.

    Raises:
        ListenError.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as parts:
        parts.callback(quiet_cut_responses())
        announce(await listen("mock-llm", endpoint, provider, parts) or "")
        await stopping.wait()
