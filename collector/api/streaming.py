"""What becomes of runs, as it happens (`/api/v1/stream`): server-sent events, or lines of JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from collector.api.base import RUN, Routes, RouteTable, caller_of, need_content
from collector.api.declaring import NDJSON, SSE, Answer, Route, parameters_of
from collector.api.parameters import SINCE, UNTIL, Parameter, Parameters
from collector.api.problems import Problem, invalid
from collector.api.queries import FILTERS, read_filter
from collector.live import MOST_LISTENERS, TYPES, UPDATE_EVERY_S, Gap, Interest, TooManyListenersError
from sinks.filter import ALWAYS, Condition, fields_of
from sinks.matching import can_match

HEARTBEAT_S = 15.0
RETRY_MS = 2_000

TYPES_PARAMETER = Parameter("types", "what is told; without it, everything", choices=TYPES, many=True)
FIELDS_PARAMETER = Parameter("fields", "`io` adds inputs and outputs", choices=("io",), many=True)
STREAM_PARAMETERS = (
    *(one for one in FILTERS if one not in (SINCE, UNTIL)),
    TYPES_PARAMETER,
    FIELDS_PARAMETER,
)
ANSWERS = (Answer(media=SSE), Answer(dict[str, object], media=NDJSON))


class StreamRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route("GET", "/api/v1/stream", self.stream, ANSWERS, parameters=STREAM_PARAMETERS, endless=True),
            Route(
                "GET",
                RUN + "/stream",
                self.stream_run,
                ANSWERS,
                parameters=(TYPES_PARAMETER, FIELDS_PARAMETER),
                endless=True,
            ),
        ]

    async def stream(self, request: Request) -> Response:
        """Runs, entries and warnings as they are stored, by server-sent events or lines of JSON (`Accept`)."""
        where = read_filter(parameters_of(request))
        for name in fields_of(where):
            if not can_match(name):
                raise invalid(name, "can not be followed live; choose by fields of the run itself")
        return self._stream(request, where, "")

    async def stream_run(self, request: Request) -> Response:
        """The same of one run."""
        run = await self.run_of(request)
        return self._stream(request, ALWAYS, run.run_id)

    def _stream(self, request: Request, where: Condition, run_id: str) -> Response:
        interest = self._interest(request, parameters_of(request), where, run_id)
        loop = asyncio.get_running_loop()
        something = asyncio.Event()
        after = request.headers.get("last-event-id", "")
        live = self.api.live
        try:
            listener = live.listen(interest, partial(_wake, loop, something), after)
        except TooManyListenersError:
            raise Problem(503, f"{MOST_LISTENERS} are listening already; no more may.") from None
        lines = NDJSON in request.headers.get("accept", "")
        form, heartbeat = (_line, b"\n") if lines else (_event, b": still here\n\n")

        async def messages() -> AsyncIterator[bytes]:
            try:
                yield b"\n" if lines else f"retry: {RETRY_MS}\n\n".encode()
                while not listener.closed:
                    something.clear()
                    words, gap = listener.take()
                    text = b"".join(
                        form(
                            live.id_of(listener.resumes_after(word.number)),
                            word.name,
                            word.content if interest.content else word.data,
                        )
                        for word in words
                    )
                    if gap is not None:
                        text += form(live.id_of(listener.resumes_after(gap.last)), "gap", _gap(gap))
                    if text:
                        yield text
                    timeout = UPDATE_EVERY_S if listener.waits else HEARTBEAT_S
                    try:
                        async with asyncio.timeout(timeout):
                            await something.wait()
                    except TimeoutError:
                        if timeout == HEARTBEAT_S:
                            yield heartbeat
            finally:
                live.leave(listener)

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(messages(), media_type=NDJSON if lines else SSE, headers=headers)

    def _interest(self, request: Request, parameters: Parameters, where: Condition, run_id: str) -> Interest:
        content = "io" in parameters.choices("fields")
        if content:
            need_content(request)
        caller = caller_of(request)
        types = parameters.choices("types") or TYPES
        return Interest(caller.tenant, caller.project, types, where, run_id, content)


def _wake(loop: asyncio.AbstractEventLoop, something: asyncio.Event) -> None:
    loop.call_soon_threadsafe(something.set)


def _event(number: str, name: str, data: bytes) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (number.encode(), name.encode(), data)


def _line(number: str, name: str, data: bytes) -> bytes:
    return b'{"id":"%s","event":"%s","data":%s}\n' % (number.encode(), name.encode(), data)


def _gap(gap: Gap) -> bytes:
    return orjson.dumps({"from": gap.first, "to": gap.last, "missed": gap.missed})
