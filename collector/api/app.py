"""Routes of the JSON API and of the admin port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collector.api import cursors
from collector.api.access import Access
from collector.api.aggregation import (
    INTERVALS,
    aggregate_document,
    automatic,
    read_dimensions,
    read_metrics,
    read_zone,
)
from collector.api.parameters import Parameters
from collector.api.problems import (
    Problem,
    invalid,
    on_error,
    on_http_exception,
    on_keys_error,
    on_problem,
    on_store_error,
)
from collector.api.queries import (
    AGGREGATE_PARAMETERS,
    BODY_PARAMETERS,
    FACET_PARAMETERS,
    RUN_PARAMETERS,
    SORTS,
    facet_field,
    field_documents,
    read_body_filter,
    read_filter,
    read_ids,
    read_json,
)
from collector.api.render import entry_document, run_document, span_document, warning_document
from collector.api.tokens import is_theirs, read_wanted
from collector.api.warning_list import read_parameters
from collector.gate import Caller, Gate, forbidden
from collector.keys import Keys, KeysError, Scope
from collector.mapping import explanation_document, stored_span
from collector.telemetry import Health, Status
from mappers.model import Event, Run, Span
from mappers.normalize import Normalizer
from mappers.timeline import TimelineEntry, timeline
from sinks.base import PermanentError, RetryableError
from sinks.clickhouse import Reader, RunFilter
from sinks.filter import ATTRIBUTE_PREFIX, Compare, Condition, Every, fields_of

Result = TypeVar("Result")
Endpoint = Callable[[Request], Awaitable[Response]]
RouteTable = list[tuple[str, str, Endpoint]]
"""(method, path, endpoint)"""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
READERS = 4
"""Queries answered at a time."""


def _json(document: Any, status: int = 200) -> Response:
    return Response(
        orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS),
        status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


@dataclass(slots=True)
class Api:
    """What the routes answer from."""

    reader: Reader
    status: Status
    health: Health
    clock_ns: Callable[[], int] = time.time_ns
    normalizer: Callable[[], Normalizer] = Normalizer
    """Makes one that reads as those of the pipelines do."""
    keys: Keys | None = None
    metrics: Callable[[], bytes] = bytes
    """The text for Prometheus."""
    components: Callable[[], dict[str, Any]] = dict
    """How each part is."""


class _Routes:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="api-reader")

    async def _read(self, query: Callable[..., Result], *args: Any) -> Result:
        """Runs a query beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: query(*args))

    # ------------------------------------------------------------------- what there is

    async def discovery(self, request: Request) -> Response:
        """The version, and every route with its purpose."""
        self._parameters(request)
        return _json(
            {
                "name": "eddyline",
                "version": self._api.status.version,
                "routes": [
                    {"method": method, "path": path, "purpose": (endpoint.__doc__ or "").partition("\n")[0]}
                    for method, path, endpoint in self.table()
                ],
            }
        )

    async def status(self, request: Request) -> Response:
        """What was received, what is stored and what is on its way."""
        self._parameters(request)
        return _json(self._api.status.document())

    # ------------------------------------------------------------------- runs

    async def runs(self, request: Request) -> Response:
        """Runs, newest first or by `sort`; `q` is a search text, other parameters narrow further."""
        now_ns = self._api.clock_ns()
        parameters = Parameters(request, RUN_PARAMETERS, now_ns=now_ns)
        where = read_filter(parameters)
        # A relative time moves from page to page: the cursor is bound to how it was written.
        binding = "&".join(
            f"{name}={value}"
            for name, value in sorted(request.query_params.multi_items())
            if name not in ("cursor", "limit")
        )
        return _json(await self._page(request, parameters, where, binding, now_ns))

    async def search_runs(self, request: Request) -> Response:
        """Runs, chosen by a JSON filter: `{"filter": {…}, "since": …, "sort": …, "limit": …, "cursor": …}`."""
        now_ns = self._api.clock_ns()
        self._parameters(request)
        body = await read_json(request)
        where = read_body_filter(body)
        parameters = Parameters.of_body(body, BODY_PARAMETERS, now_ns=now_ns)
        binding = orjson.dumps(
            {name: value for name, value in body.items() if name not in ("cursor", "limit")},
            option=orjson.OPT_SORT_KEYS,
        ).decode()
        return _json(await self._page(request, parameters, where, binding, now_ns))

    async def batch_runs(self, request: Request) -> Response:
        """Up to 500 runs by id in one request: `{"ids": […]}`; ids that are not found are listed."""
        self._parameters(request)
        ids = read_ids(await read_json(request))
        now_ns = self._api.clock_ns()
        caller = _caller(request)
        found = await self._read(self._api.reader.runs_by_id, caller.tenant, ids)
        found = {run_id: run for run_id, run in found.items() if caller.project in ("", run.project)}
        content = caller.may(Scope.CONTENT)
        return _json(
            {
                "data": [
                    run_document(found[run_id], now_ns, content=content) for run_id in ids if run_id in found
                ],
                "missing": [run_id for run_id in ids if run_id not in found],
            }
        )

    async def _page(
        self, request: Request, parameters: Parameters, where: Condition, binding: str, now_ns: int
    ) -> dict[str, Any]:
        limit = parameters.integer("limit", 50, 1, 1000)
        sort = (parameters.choices("sort", tuple(SORTS)) or ("-started_at",))[0]
        include = parameters.choices("include", ("all",))
        since_ns, until_ns = parameters.time_ns("since"), parameters.time_ns("until")
        if since_ns is not None and until_ns is not None and since_ns >= until_ns:
            raise invalid("until", "must be later than since")
        wanted = RunFilter(
            tenant=_caller(request).tenant,
            since_ns=since_ns,
            until_ns=until_ns,
            where=_own(request, where),
            include_all=bool(include),
        )
        given = parameters.text("cursor")
        cursor = None
        if given is not None:
            key = cursors.decode(given, binding)
            if len(key) != 2 or not isinstance(key[0], (int, float)) or not isinstance(key[1], str):
                raise invalid("cursor", "is not one of ours")
            cursor = (key[0], key[1])
        page = await self._read(self._api.reader.runs, wanted, limit, cursor, now_ns, SORTS[sort])
        content = _caller(request).may(Scope.CONTENT)
        return {
            "data": [run_document(run, now_ns, content=content) for run in page.runs],
            "page": {"next_cursor": page.next_cursor and cursors.encode(page.next_cursor, binding)},
            "meta": {
                "since": parameters.text("since"),
                "until": parameters.text("until"),
                "sort": sort,
                "limit": limit,
            },
        }

    async def facets(self, request: Request) -> Response:
        """Values of a field (`of`) with the number of runs that have them, for menus and completion."""
        now_ns = self._api.clock_ns()
        parameters = Parameters(request, FACET_PARAMETERS, now_ns=now_ns)
        of = parameters.text("of")
        if of is None:
            return _json({"data": field_documents()})
        limit = parameters.integer("limit", 20, 1, 1000)
        wanted = RunFilter(
            tenant=_caller(request).tenant,
            since_ns=parameters.time_ns("since"),
            until_ns=parameters.time_ns("until"),
            where=_own(request, read_filter(parameters)),
        )
        prefix = parameters.text("prefix") or ""
        field = facet_field(of)
        if field.startswith(ATTRIBUTE_PREFIX):
            _need_content(request)
        found = await self._read(self._api.reader.facet, field, prefix, wanted, limit, now_ns)
        return _json({"data": [{"value": value, "count": count} for value, count in found]})

    async def aggregates(self, request: Request) -> Response:
        """Sums over the events of the runs that the filter chooses: `metrics`, `by` what, per `interval`."""
        now_ns = self._api.clock_ns()
        parameters = Parameters(request, AGGREGATE_PARAMETERS, now_ns=now_ns)
        asked, by, zone = read_metrics(parameters), read_dimensions(parameters), read_zone(parameters)
        interval = (parameters.choices("interval", ["auto", "none", *INTERVALS]) or ("none",))[0]
        wanted = RunFilter(
            tenant=_caller(request).tenant,
            since_ns=parameters.time_ns("since"),
            until_ns=parameters.time_ns("until"),
            where=_own(request, read_filter(parameters)),
        )
        if interval == "auto":
            times = await self._read(self._api.reader.event_times, wanted, now_ns)
            first, last = times if times is not None else (now_ns, now_ns)
            interval = automatic(wanted.since_ns or first, wanted.until_ns or last)
        rows = await self._read(
            self._api.reader.aggregate, asked, by, wanted, INTERVALS.get(interval), zone, now_ns
        )
        meta = {
            "since": parameters.text("since"),
            "until": parameters.text("until"),
            "interval": interval,
            "tz": zone,
        }
        return _json(aggregate_document(rows, asked, by, meta))

    async def run(self, request: Request) -> Response:
        """One run."""
        self._parameters(request)
        content = _caller(request).may(Scope.CONTENT)
        return _json(run_document(await self._run(request), self._api.clock_ns(), content=content))

    async def events(self, request: Request) -> Response:
        """The run's timeline; `fields=io` adds inputs, outputs, and what calls were made with."""
        parameters = self._parameters(request, ("fields",))
        content = "io" in parameters.choices("fields", ("io",))
        if content:
            _need_content(request)
        entries = await self._entries(request)
        return _json(
            {
                "data": [entry_document(entry, content=content) for entry in entries],
                "page": {"next_cursor": None},
                "meta": {"count": len(entries)},
            }
        )

    async def event(self, request: Request) -> Response:
        """One entry of the timeline, with input and output."""
        self._parameters(request)
        _need_content(request)
        event_id = request.path_params["event_id"]
        for entry in await self._entries(request):
            if entry.event_id == event_id:
                return _json(entry_document(entry, content=True))
        raise Problem(404, f"The run has no event {event_id!r}.")

    async def spans(self, request: Request) -> Response:
        """The run's spans with all attributes, as received."""
        self._parameters(request)
        _need_content(request)
        run = await self._run(request)
        spans = await self._read(self._api.reader.spans, run)
        return _json(
            {
                "data": [span_document(span) for span in spans],
                "page": {"next_cursor": None},
                "meta": {"count": len(spans)},
            }
        )

    async def mapping(self, request: Request) -> Response:
        """How a span was understood: conventions, kind, where each field came from, what was left unread."""
        self._parameters(request)
        _need_content(request)
        run = await self._run(request)
        span_id = request.path_params["span_id"].lower()
        row = await self._read(self._api.reader.span, run, span_id)
        if row is None:
            raise Problem(404, f"The run has no span {span_id!r}. A span's id is 16 hex digits.")
        events = await self._read(self._api.reader.event_rows, run.tenant, run.run_id, [(span_id, 0)])
        return _json(await self._read(self._explanation, stored_span(row), events))

    def _explanation(self, span: Span, events: Sequence[Event]) -> dict[str, Any]:
        normalizer = self._api.normalizer()
        event = events[0] if events else normalizer.normalize(span)
        return explanation_document(span, event, normalizer.explain(span))

    async def warnings(self, request: Request) -> Response:
        """The run's loop and waste warnings."""
        self._parameters(request)
        run = await self._run(request)
        found = await self._read(self._api.reader.warnings, run.tenant, run.run_id)
        return _json(
            {
                "data": [warning_document(warning) for warning in found],
                "page": {"next_cursor": None},
                "meta": {"count": len(found)},
            }
        )

    async def all_warnings(self, request: Request) -> Response:
        """Warnings of all runs, the latest first."""
        wanted, limit, cursor, binding = read_parameters(request, self._api.clock_ns(), _caller(request))
        page = await self._read(self._api.reader.warning_page, wanted, limit, cursor)
        return _json(
            {
                "data": [warning_document(warning) for warning in page.warnings],
                "page": {"next_cursor": page.next_cursor and cursors.encode(page.next_cursor, binding)},
                "meta": {"sort": "-last_at", "limit": limit},
            }
        )

    # ------------------------------------------------------------------- health

    async def healthz(self, request: Request) -> Response:
        """Liveness: the process answers."""
        return Response("ok\n", media_type="text/plain")

    async def readyz(self, request: Request) -> Response:
        """Readiness: what is sent now is taken."""
        failing = self._api.health.failing() if self._api.health.ready else ["draining or starting"]
        return Response(
            "\n".join(failing or ["ready"]) + "\n", 503 if failing else 200, media_type="text/plain"
        )

    # ------------------------------------------------------------------- keys

    async def tokens(self, request: Request) -> Response:
        """API keys, without their secrets."""
        self._parameters(request)
        keys = await self._read(self._keys.all)
        return _json({"data": [key.document() for key in keys if is_theirs(_caller(request), key)]})

    async def create_token(self, request: Request) -> Response:
        """A new API key: `{"name": …, "scopes": […], "project": …, "tenant": …}`; its `token` is shown this once."""
        self._parameters(request)
        wanted = read_wanted(await read_json(request), _caller(request))
        key, secret = await self._read(
            lambda: self._keys.create(
                wanted.name, wanted.scopes, project=wanted.project, tenant=wanted.tenant
            )
        )
        return _json(key.document() | {"token": secret}, 201)

    async def revoke_token(self, request: Request) -> Response:
        """Revokes an API key; it is refused within a second."""
        self._parameters(request)
        token_id = request.path_params["token_id"]
        keys = await self._read(self._keys.all)
        theirs = any(key.id == token_id and is_theirs(_caller(request), key) for key in keys)
        if not theirs or not await self._read(self._keys.revoke, token_id):
            raise Problem(404, f"There is no token {token_id!r}; ids are listed at /api/v1/tokens.")
        return Response(status_code=204)

    # ------------------------------------------------------------------- admin

    async def metrics(self, request: Request) -> Response:
        """Metrics for Prometheus."""
        text = await self._read(self._api.metrics)
        return Response(text, headers={"Content-Type": METRICS_TYPE})

    async def components(self, request: Request) -> Response:
        """How each part is, in the words of the OpenTelemetry collector."""
        return _json(self._api.components())

    # ------------------------------------------------------------------- shared

    @property
    def _keys(self) -> Keys:
        if self._api.keys is None:
            raise Problem(404, "No keys are kept here.")
        return self._api.keys

    def _parameters(self, request: Request, known: Collection[str] = ()) -> Parameters:
        return Parameters(request, tuple(known), now_ns=self._api.clock_ns())

    async def _run(self, request: Request) -> Run:
        run_id = request.path_params["run_id"].lower()
        caller = _caller(request)
        run = await self._read(self._api.reader.run, caller.tenant, run_id)
        if run is None or caller.project not in ("", run.project):
            raise Problem(404, f"There is no run {run_id!r}. A run's id is its trace id, 32 hex digits.")
        return run

    async def _entries(self, request: Request) -> list[TimelineEntry]:
        run = await self._run(request)
        events = await self._read(self._api.reader.events, run)
        return timeline(run, events)

    def table(self) -> RouteTable:
        """Every route of the API."""
        run = "/api/v1/runs/{run_id}"
        return [
            ("GET", "/api/v1", self.discovery),
            ("GET", "/api/v1/status", self.status),
            ("GET", "/api/v1/aggregates", self.aggregates),
            ("GET", "/api/v1/facets", self.facets),
            ("GET", "/api/v1/runs", self.runs),
            ("POST", "/api/v1/runs:search", self.search_runs),
            ("POST", "/api/v1/runs:batch", self.batch_runs),
            ("GET", run, self.run),
            ("GET", run + "/events", self.events),
            ("GET", run + "/events/{event_id}", self.event),
            ("GET", run + "/spans", self.spans),
            ("GET", run + "/warnings", self.warnings),
            ("GET", "/api/v1/spans/{run_id}/{span_id}/mapping", self.mapping),
            ("GET", "/api/v1/warnings", self.all_warnings),
            ("GET", "/api/v1/tokens", self.tokens),
            ("POST", "/api/v1/tokens", self.create_token),
            ("DELETE", "/api/v1/tokens/{token_id}", self.revoke_token),
            *self.health_table(),
        ]

    def health_table(self) -> RouteTable:
        return [("GET", "/healthz", self.healthz), ("GET", "/readyz", self.readyz)]

    def admin_table(self) -> RouteTable:
        """Every route of the admin port."""
        return [*self.health_table(), ("GET", "/metrics", self.metrics), ("GET", "/status", self.components)]


def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["caller"]
    return caller


def _need_content(request: Request) -> None:
    """Raises: Problem (403) if the caller may not see inputs, outputs and attributes."""
    if not _caller(request).may(Scope.CONTENT):
        raise Problem(403, f"{forbidden(Scope.CONTENT).capitalize()}.")


def _own(request: Request, where: Condition) -> Condition:
    """What is asked for, within the caller's project if they have only one.

    Raises: Problem (403) if it looks into what was said, which can be found out letter by letter in this way, and the
    caller may not see that.
    """
    if any(name == "text" or name.startswith(ATTRIBUTE_PREFIX) for name in fields_of(where)):
        _need_content(request)
    project = _caller(request).project
    return Every([Compare("project", "=", project), where]) if project else where


def api_app(api: Api, *, gate: Gate, hosts: Collection[str]) -> Starlette:
    """The API; see `Access` for `gate` and `hosts`."""
    return _application(_Routes(api).table(), [Middleware(Access, gate=gate, hosts=hosts)])


def admin_app(api: Api) -> Starlette:
    """Health for probes and metrics, without a token."""
    return _application(_Routes(api).admin_table(), [])


def _application(table: RouteTable, middleware: list[Middleware]) -> Starlette:
    app = Starlette(
        routes=[Route(path, endpoint, methods=[method]) for method, path, endpoint in table],
        middleware=middleware,
        exception_handlers={
            Problem: on_problem,
            RetryableError: on_store_error,
            PermanentError: on_store_error,
            KeysError: on_keys_error,
            HTTPException: on_http_exception,
            Exception: on_error,
        },
    )
    app.router.redirect_slashes = False
    return app
