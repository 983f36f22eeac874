"""The routes below `/jaeger`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from collector.api.base import Routes, RouteTable, caller_of, json_response, within_project
from collector.api.declaring import JSON, Answer, Endpoint, Route
from collector.api.jaeger import v1, v3
from collector.api.jaeger.asking import (
    MOST_TRACES,
    MOST_WHOLE_TRACES,
    V1_SEARCH,
    V3_SEARCH,
    Search,
    read_v1,
    read_v3,
    span_kinds,
)
from collector.api.jaeger.trace import Trace, trace_of
from collector.api.parameters import Parameter, Type
from collector.api.problems import Problem
from collector.api.trace_ids import trace_id_of
from collector.doors.keys import Scope
from mappers.model import Run
from sinks.clickhouse import RunFilter

V1 = "/jaeger/api"
V3 = "/jaeger/api/v3"
MOST_SERVICES = 10_000
DAY_MS = 86_400_000
OBJECT = dict[str, object]

SERVICE = Parameter("service", "name of the service")
KIND = Parameter("spanKind", "server, client, producer, consumer or internal")
LINKED = (
    Parameter("endTs", "until this time, in milliseconds", Type.INTEGER),
    Parameter("lookback", "and from so many milliseconds before", Type.INTEGER, default=DAY_MS),
)

Result = TypeVar("Result")
Asked = Callable[["JaegerRoutes", Request], Awaitable[dict[str, Any]]]
Answered = Callable[["JaegerRoutes", Request], Awaitable[Response]]


def answering(failure: Callable[[int, str], dict[str, Any]]) -> Callable[[Asked], Answered]:
    """An endpoint of what it returns; a problem is told in the words of the version."""

    def decorate(method: Asked) -> Answered:
        @wraps(method)
        async def endpoint(self: JaegerRoutes, request: Request) -> Response:
            try:
                return await self.read(json_response, await method(self, request))
            except Problem as problem:
                return json_response(failure(problem.status, problem.detail), problem.status)

        return endpoint

    return decorate


class JaegerRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            _route(V1 + "/services", self.jaeger_services),
            _route(V1 + "/services/{service}/operations", self.jaeger_service_operations),
            _route(V1 + "/operations", self.jaeger_operations, (SERVICE, KIND)),
            _route(V1 + "/traces", self.jaeger_traces, V1_SEARCH),
            _route(V1 + "/traces/{trace_id}", self.jaeger_trace),
            _route(V1 + "/dependencies", self.jaeger_dependencies, LINKED),
            _route(V3 + "/services", self.jaeger3_services),
            _route(V3 + "/operations", self.jaeger3_operations, (SERVICE, KIND)),
            _route(V3 + "/trace-summaries", self.jaeger3_summaries, V3_SEARCH),
            _route(V3 + "/traces", self.jaeger3_traces, V3_SEARCH),
            _route(V3 + "/traces/{trace_id}", self.jaeger3_trace),
            _route(V3 + "/dependencies", self.jaeger3_dependencies),
        ]

    # ------------------------------------------------------------------- version 1

    @answering(v1.failure)
    async def jaeger_services(self, request: Request) -> dict[str, Any]:
        """Jaeger: services."""
        return v1.envelope(await self._services(request))

    @answering(v1.failure)
    async def jaeger_service_operations(self, request: Request) -> dict[str, Any]:
        """Jaeger: names of a service's spans."""
        found = await self._operations(request, request.path_params["service"])
        return v1.envelope(list(dict.fromkeys(name for name, _ in found)))

    @answering(v1.failure)
    async def jaeger_operations(self, request: Request) -> dict[str, Any]:
        """Jaeger: names and kinds of a service's spans."""
        found = await self._operations(request, request.query_params.get("service", ""))
        return v1.envelope(span_kinds(found, request.query_params.get("spanKind", "")))

    @answering(v1.failure)
    async def jaeger_traces(self, request: Request) -> dict[str, Any]:
        """Jaeger: traces with their spans, newest first."""
        search = read_v1(request.query_params)
        if search.trace_ids:
            found = await self.read(
                self.api.reader.runs_by_id, caller_of(request).tenant, search.trace_ids[:MOST_WHOLE_TRACES]
            )
            runs: Sequence[Run] = [run for run in found.values() if self._theirs(request, run)]
        else:
            runs = await self._runs(request, search)
        return v1.envelope(await self._traces(request, runs, v1.trace_document))

    @answering(v1.failure)
    async def jaeger_trace(self, request: Request) -> dict[str, Any]:
        """Jaeger: one trace, its spans with GenAI attributes and our warnings."""
        return v1.envelope(await self._traces(request, [await self._run(request)], v1.trace_document))

    @answering(v1.failure)
    async def jaeger_dependencies(self, request: Request) -> dict[str, Any]:
        """Jaeger: which service calls which."""
        query = request.query_params
        end_ms = _milliseconds(query.get("endTs", ""), self.api.clock_ns() // 10**6)
        lookback_ms = _milliseconds(query.get("lookback", ""), DAY_MS)
        return v1.envelope(await self._links(request, (end_ms - lookback_ms) * 10**6, end_ms * 10**6))

    # ------------------------------------------------------------------- version 3

    @answering(v3.failure)
    async def jaeger3_services(self, request: Request) -> dict[str, Any]:
        """Jaeger v3: services."""
        return {"services": await self._services(request)}

    @answering(v3.failure)
    async def jaeger3_operations(self, request: Request) -> dict[str, Any]:
        """Jaeger v3: names and kinds of a service's spans."""
        query = request.query_params
        found = await self._operations(request, query.get("service", ""))
        return {"operations": span_kinds(found, query.get("spanKind", "") or query.get("span_kind", ""))}

    @answering(v3.failure)
    async def jaeger3_summaries(self, request: Request) -> dict[str, Any]:
        """Jaeger v3: traces in a line each, newest first."""
        runs = await self._runs(request, read_v3(request.query_params, MOST_TRACES))
        found = await self.read(self.api.reader.trace_summaries, caller_of(request).tenant, runs)
        return {"summaries": [v3.summary_document(summary) for summary in found]}

    @answering(v3.failure)
    async def jaeger3_traces(self, request: Request) -> dict[str, Any]:
        """Jaeger v3: traces as OTLP, newest first."""
        runs = await self._runs(request, read_v3(request.query_params, MOST_WHOLE_TRACES))
        if not runs:
            raise Problem(404, "No traces found")
        traces = await self._traces(request, runs, lambda trace: trace)
        return await self.read(v3.traces_document, traces)

    @answering(v3.failure)
    async def jaeger3_trace(self, request: Request) -> dict[str, Any]:
        """Jaeger v3: one trace as OTLP."""
        traces = await self._traces(request, [await self._run(request)], lambda trace: trace)
        return await self.read(v3.traces_document, traces)

    @answering(v3.failure)
    async def jaeger3_dependencies(self, request: Request) -> dict[str, Any]:
        """Jaeger v3: which service calls which, of the last day."""
        now_ns = self.api.clock_ns()
        return {"dependencies": await self._links(request, now_ns - DAY_MS * 10**6, now_ns)}

    # ------------------------------------------------------------------- what both ask

    async def _services(self, request: Request) -> list[str]:
        wanted = self._filter(request, Search())
        found = await self.read(
            self.api.reader.facet, "service", "", wanted, MOST_SERVICES, self.api.clock_ns()
        )
        return sorted(name for name, _ in found)

    async def _operations(self, request: Request, service: str) -> list[tuple[str, str]]:
        if not service:
            raise Problem(400, "parameter 'service' is required")
        caller = caller_of(request)
        return await self.read(self.api.reader.operations, caller.tenant, caller.project, service)

    def _filter(self, request: Request, search: Search) -> RunFilter:
        return RunFilter(
            tenant=caller_of(request).tenant,
            since_ns=search.since_ns,
            until_ns=search.until_ns,
            where=within_project(request, search.condition()),
            include_all=True,
        )

    async def _runs(self, request: Request, search: Search) -> Sequence[Run]:
        wanted = self._filter(request, search)
        page = await self.read(self.api.reader.runs, wanted, search.limit, None, self.api.clock_ns())
        return page.runs

    async def _run(self, request: Request) -> Run:
        run_id = trace_id_of(request.path_params["trace_id"])
        run = await self.read(self.api.reader.run, caller_of(request).tenant, run_id)
        if run is None or not self._theirs(request, run):
            raise Problem(404, "trace not found")
        return run

    async def _traces(
        self, request: Request, runs: Sequence[Run], written: Callable[[Trace], Result]
    ) -> list[Result]:
        """The traces of the runs, `written` beside the event loop: of a large one that takes a while."""
        content = caller_of(request).may(Scope.CONTENT)
        reader = self.api.reader

        def found(run: Run) -> Result:
            warnings = reader.warnings(run.tenant, run.run_id) if run.counts.warnings else ()
            spans, events = reader.spans(run), reader.events(run)
            return written(trace_of(run, spans, events, warnings, content=content))

        return [await self.read(found, run) for run in runs]

    async def _links(self, request: Request, since_ns: int, until_ns: int) -> list[dict[str, Any]]:
        caller = caller_of(request)
        found = await self.read(
            self.api.reader.service_calls,
            caller.tenant,
            caller.project,
            _in_range(since_ns),
            _in_range(until_ns),
        )
        return [{"parent": parent, "child": called, "callCount": calls} for parent, called, calls in found]

    def _theirs(self, request: Request, run: Run) -> bool:
        return caller_of(request).project in ("", run.project)


def _route(path: str, endpoint: Endpoint, parameters: Sequence[Parameter] = ()) -> Route:
    failures = (400, 403, 404) if "{" in path or parameters else (403,)
    return Route(
        "GET",
        path,
        endpoint,
        (Answer(OBJECT), *(Answer(OBJECT, status, JSON, "In Jaeger's own words.") for status in failures)),
        parameters=parameters,
        lenient=True,
    )


def _milliseconds(value: str, usual: int) -> int:
    if not value:
        return usual
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise Problem(400, f"{value[:64]!r} is not a number of milliseconds")
    return int(value)


def _in_range(time_ns: int) -> int:
    return max(0, min(time_ns, 2**63 - 1))
