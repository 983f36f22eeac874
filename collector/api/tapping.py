"""A look at what passes (`/api/v1/tap`): lines of JSON for as long as the caller listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from collector.api.base import Routes, RouteTable, caller_of
from collector.api.declaring import NDJSON, Answer, Route, parameters_of
from collector.api.parameters import Parameter, Parameters, Type
from collector.api.problems import Problem, invalid
from collector.doors.gate import Caller
from collector.doors.keys import Scope
from collector.journal import Record
from collector.otlp import decode_logs, decode_traces
from collector.pipeline.mapped import label
from collector.pipeline.redaction import Redaction
from collector.plain import plain
from collector.tap import (
    MAX_CHARS,
    MAX_PARTS,
    MOST_TAPS,
    Arrival,
    Point,
    Sample,
    Tap,
    TooManyTapsError,
    View,
)

PARAMETERS = (
    Parameter("at", "the point to look at; must be given", choices=tuple(Point)),
    Parameter("project", "a pattern for projects; `*` stands for anything", default="*"),
    Parameter("name", "a pattern for names", default="*"),
    Parameter("limit", "samples shown in an interval", Type.INTEGER, low=1, high=1000, default=100),
    Parameter("interval_ms", "how often they are shown", Type.INTEGER, low=100, high=60_000, default=500),
)
HEARTBEAT_S = 15.0
"""So often at least something is sent, that whoever has gone away is noticed."""
LONGEST_SLEEP_S = 0.25
"""So soon a tap ends when the collector does."""


class TapRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "GET",
                "/api/v1/tap",
                self.tap,
                Answer(dict[str, object], media=NDJSON),
                scope=Scope.CONTENT,
                parameters=PARAMETERS,
                endless=True,
            )
        ]

    async def tap(self, request: Request) -> Response:
        """Samples of what passes `at` the receiver, the mapper or the sink, a line of JSON each, until one hangs up."""
        view = read_view(parameters_of(request), caller_of(request))
        taps = self.api.taps
        try:
            tap = taps.open(view)
        except TooManyTapsError:
            raise Problem(503, f"{MOST_TAPS} are looking already; no more may.") from None
        lines = _Lines(tap, self.api.redaction)

        async def stream() -> AsyncIterator[bytes]:
            loop = asyncio.get_running_loop()
            sent_at = loop.time()
            try:
                yield b"\n"  # now the caller sees that it is heard
                while not tap.closed.is_set():
                    text = await self.read(lines.taken)
                    if not text and loop.time() - sent_at > HEARTBEAT_S:
                        text = b"\n"
                    if text:
                        yield text
                        sent_at = loop.time()
                    wake_at = loop.time() + view.interval_s
                    while not tap.closed.is_set() and (left := wake_at - loop.time()) > 0:
                        await asyncio.sleep(min(left, LONGEST_SLEEP_S))
            finally:
                taps.close(tap)

        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(stream(), media_type=NDJSON, headers=headers)


def read_view(parameters: Parameters, caller: Caller) -> View:
    """Raises: Problem."""
    point = parameters.choice("at")
    if point is None:
        raise invalid("at", "names the one point to look at", tuple(Point))
    return View(
        Point(point),
        None if caller.is_owner else caller.tenant,
        caller.project,
        parameters.text("project") or "*",
        parameters.text("name") or "*",
        parameters.integer("limit"),
        parameters.integer("interval_ms") / 1000,
    )


class _Lines:
    """What a tap has taken, as it is sent."""

    def __init__(self, tap: Tap, redaction: Callable[[str], Redaction]) -> None:
        self._tap = tap
        self._redaction = {signal: redaction(signal) for signal in ("traces", "logs")}

    def taken(self) -> bytes:
        samples, skipped = self._tap.take()
        at = self._tap.view.point
        documents = [found for sample in samples if (found := self._document(sample)) is not None]
        if skipped:
            documents.append({"skipped": skipped})
        options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
        return b"".join(orjson.dumps({"at": at} | document, option=options) for document in documents)

    def _document(self, sample: Sample) -> dict[str, Any] | None:
        """None if nothing in it is to be seen."""
        if not isinstance(sample, Arrival):
            return sample
        header = sample.header
        document: dict[str, Any] = {
            "signal": sample.signal,
            "time_ns": header.received_ns,
            "transport": header.transport,
            "bytes": len(sample.body),
            "items": header.items,
        }
        redaction = self._redaction[sample.signal]
        try:
            items: list[Any] = (decode_traces if sample.signal == "traces" else decode_logs)(sample.body)
        except ValueError as error:
            return document | {"error": str(error)}
        label(items, Record(0, header, sample.body))
        redaction.saw(sample.body, items)
        redaction.mask()
        redaction.hide(items, [])
        shown = [item for item in items if self._tap.view.shows(item)]
        if not shown:
            return None
        word = "spans" if sample.signal == "traces" else "records"
        return document | {
            word: [plain(item, max_chars=MAX_CHARS, max_parts=MAX_PARTS) for item in shown[:MAX_PARTS]]
        }
