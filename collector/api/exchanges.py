"""Calls that the proxy relayed: lists, sums, one as it passed, and recorded streams played again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from itertools import chain

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from collector.api import cursors
from collector.api.base import Routes, RouteTable, caller_of, json_response
from collector.api.declaring import NDJSON, Answer, Route, parameters_of
from collector.api.exchange_documents import (
    Exchange,
    ExchangePage,
    ExchangeSums,
    exchange_document,
    sum_document,
    summary_document,
)
from collector.api.parameters import CURSOR, LIMIT, SINCE, UNTIL, Parameter, Parameters
from collector.api.problems import Problem, invalid
from collector.doors.keys import Scope
from collector.proxy.archive import started_ms
from sinks.clickhouse.exchanges import DIMENSIONS, ExchangeFilter, Exchanges, StoredExchange

YES = ("1", "true")
_SWITCH = (*YES, "0", "false")
FILTERS = (
    Parameter("project", "projects", many=True),
    Parameter("key_hash", "API keys, by their hashes", many=True),
    Parameter(
        "key_name",
        "API keys, by their names in `proxy.capture.named_keys`; `*` stands for anything, here as below",
        many=True,
    ),
    Parameter("path", "paths at the provider", many=True),
    Parameter("status", "HTTP statuses: `429`, `5xx`, or `-1` for no answer", many=True),
    Parameter("model", "models, as asked for or as answered", many=True),
    Parameter("client", "clients, by address or user agent", many=True),
    Parameter("upstream", "providers, by their names in the proxy", many=True),
    Parameter("api", "APIs, such as `chat_completions`", many=True),
    Parameter("outcome", "how calls ended, such as `client_abort`", many=True),
    Parameter("session", "ids of sessions", many=True),
    Parameter("run", "ids of runs", many=True),
    SINCE,
    UNTIL,
)
"""What chooses calls."""
_BY = Parameter("by", "what sums are split by", choices=tuple(DIMENSIONS), default="key_hash")
_ALL = Parameter("all", "`1`: however many there are", choices=_SWITCH)
_SPEED = Parameter("speed", "how many times as fast as recorded: above 0, at most 100", default="1")
_NO_DELAY = Parameter("nodelay", "`1`: without any pause", choices=_SWITCH)
PACE = (_SPEED, _NO_DELAY)
"""How a recorded stream is played."""
MOST_EXPORTED = 50_000
MOST_EXPORTED_BYTES = 2 << 30
MAX_SPEED = 100.0
_STATUS = re.compile(r"(-1|[1-5]\d\d)|([1-5])xx")


class ExchangeRoutes(Routes):
    def table(self) -> RouteTable:
        root = "/api/v1/exchanges"
        return [
            Route("GET", root, self.exchanges, ExchangePage, parameters=(*FILTERS, LIMIT, CURSOR)),
            Route(
                "GET",
                f"{root}/aggregates",
                self.exchange_sums,
                ExchangeSums,
                parameters=(*FILTERS, _BY, LIMIT),
            ),
            Route(
                "GET",
                f"{root}/export",
                self.export_exchanges,
                Answer(Exchange, media=NDJSON),
                scope=Scope.CONTENT,
                parameters=(*FILTERS, _ALL),
                problems=(413,),
            ),
            Route("GET", f"{root}/{{exchange_id}}", self.exchange, Exchange, scope=Scope.CONTENT),
            Route(
                "GET",
                f"{root}/{{exchange_id}}/replay",
                self.replay_exchange,
                Answer(media="text/event-stream"),
                scope=Scope.CONTENT,
                parameters=PACE,
            ),
        ]

    async def exchanges(self, request: Request) -> Response:
        """Calls that the proxy relayed, newest first: who asked whom for what, how it ended, tokens, times."""
        parameters = parameters_of(request)
        wanted = read_filter(parameters, request)
        limit, binding = parameters.integer("limit"), parameters.binding()
        given = parameters.text("cursor")
        key = cursors.decode(given, binding) if given is not None else None
        if key is not None and [type(part) for part in key] != [int, str]:
            raise invalid("cursor", "is not one of ours")
        page = await self.read(self._exchanges.page, wanted, limit, key)
        costs = await self.read(self._exchanges.costs, wanted.tenant, page.exchanges)
        return json_response(
            {
                "data": [
                    summary_document(one, costs.get((one.trace_id, one.span_id))) for one in page.exchanges
                ],
                "page": {"next_cursor": page.next_cursor and cursors.encode(page.next_cursor, binding)},
                "meta": {"limit": limit},
            }
        )

    async def exchange_sums(self, request: Request) -> Response:
        """What calls add up to, `by` key (the usual), model, path, client, status, outcome or session."""
        parameters = parameters_of(request)
        by, limit = parameters.choice("by") or "", parameters.integer("limit")
        found = await self.read(self._exchanges.sums, read_filter(parameters, request), by, limit)
        return json_response({"data": [sum_document(one) for one in found], "meta": {"by": by}})

    async def export_exchanges(self, request: Request) -> Response:
        """Calls with everything as JSON lines, newest first; `eddyline mock-llm` plays them. Many need `all=1`."""
        parameters = parameters_of(request)
        wanted = read_filter(parameters, request)
        everything = parameters.choice("all") in YES
        count, size = await self.read(self._exchanges.count, wanted)
        if not everything and (count > MOST_EXPORTED or size > MOST_EXPORTED_BYTES):
            raise Problem(
                413,
                f"{count} calls of {size >> 20} MiB fit; narrow the filter, or ask with all=1.",
                kind="too-much",
            )
        found = self._exchanges.whole(wanted)
        first = await self.read(
            lambda: next(found, None)
        )  # before the status is sent, the store has answered

        async def lines() -> AsyncIterator[bytes]:
            rest: Iterator[StoredExchange] = chain([first] if first is not None else [], found)
            while (one := await self.read(lambda: next(rest, None))) is not None:
                yield orjson.dumps(exchange_document(one, chunks=True), option=orjson.OPT_APPEND_NEWLINE)

        headers = {
            "Cache-Control": "no-store",
            "Content-Disposition": 'attachment; filename="exchanges.jsonl"',
        }
        return StreamingResponse(lines(), media_type=NDJSON, headers=headers)

    async def exchange(self, request: Request) -> Response:
        """One call as it passed: request, answer, and of a stream its events with their times."""
        found = await self._one(request)
        costs = await self.read(self._exchanges.costs, found.tenant, [found])
        document = exchange_document(found, chunks=False)
        return json_response(document | {"cost_usd": costs.get((found.trace_id, found.span_id))})

    async def replay_exchange(self, request: Request) -> Response:
        """A recorded stream, sent again as it came: at its own pace, `speed` times as fast, or with `nodelay=1`."""
        return played(await self._one(request), parameters_of(request))

    # ------------------------------------------------------------------- shared

    @property
    def _exchanges(self) -> Exchanges:
        if self.api.exchanges is None:
            raise Problem(404, "No calls of a proxy are kept here.")
        return self.api.exchanges

    async def _one(self, request: Request) -> StoredExchange:
        given = request.path_params["exchange_id"].upper()
        at_ms = started_ms(given)
        caller = caller_of(request)
        found = None
        if at_ms is not None:
            found = await self.read(self._exchanges.get, caller.tenant, given, at_ms)
        if found is None or caller.project not in ("", found.project):
            raise Problem(404, f"There is no exchange {given!r}. Ids are listed at /api/v1/exchanges.")
        return found


def played(found: StoredExchange, parameters: Parameters) -> Response:
    """A recorded stream, at the pace that the parameters (`PACE`) ask for.

    Raises: Problem (400).
    """
    speed = _speed(parameters.text("speed"))
    at_once = parameters.choice("nodelay") in YES
    if not found.streamed:
        raise Problem(
            400, "The answer was not streamed, so there is nothing to replay.", kind="not-streaming"
        )
    if not found.chunk_ends or found.response_body is None:
        raise Problem(
            400, "The pieces of the stream are not kept, so it can not be replayed.", kind="not-kept"
        )
    body = found.response_body.encode()

    async def pieces() -> AsyncIterator[bytes]:
        begun = asyncio.get_running_loop().time()
        start = 0
        for end, at_ns in zip(found.chunk_ends, found.chunk_times, strict=True):
            due = begun + max(0, at_ns - found.head_ns) / 1e9 / speed
            wait = due - asyncio.get_running_loop().time()
            if not at_once and wait > 0:
                await asyncio.sleep(wait)
            yield body[start:end]
            start = end

    given = orjson.loads(found.response_headers)
    media_type = next((value for name, value in given if name == "content-type"), "text/event-stream")
    return StreamingResponse(pieces(), headers={"Cache-Control": "no-store", "Content-Type": media_type})


def read_filter(parameters: Parameters, request: Request) -> ExchangeFilter:
    """Raises: Problem (400), naming the parameter."""
    caller = caller_of(request)
    since_ns, until_ns = parameters.window_ns()
    return ExchangeFilter(
        tenant=caller.tenant,
        within_project=caller.project,
        projects=parameters.choices("project"),
        keys=parameters.choices("key_hash"),
        key_names=parameters.choices("key_name"),
        paths=parameters.choices("path"),
        models=parameters.choices("model"),
        clients=parameters.choices("client"),
        upstreams=parameters.choices("upstream"),
        apis=parameters.choices("api"),
        outcomes=parameters.choices("outcome"),
        sessions=parameters.choices("session"),
        runs=[run.lower() for run in parameters.choices("run")],
        statuses=[_status(text) for text in parameters.choices("status")],
        since_ns=since_ns,
        until_ns=until_ns,
    )


def _status(text: str) -> tuple[int, int]:
    match = _STATUS.fullmatch(text)
    if match is None:
        raise invalid("status", f"{text!r} is neither a status, nor like 4xx, nor -1 for no answer")
    if match[2]:
        return int(match[2]) * 100, int(match[2]) * 100 + 99
    return int(match[1]), int(match[1])


def _speed(text: str | None) -> float:
    try:
        speed = float(text or "")
    except ValueError:
        speed = 0.0
    if not 0 < speed <= MAX_SPEED:
        raise invalid("speed", f"{text!r} is not a number above 0 and up to {MAX_SPEED:g}")
    return speed
