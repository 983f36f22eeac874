"""Requests are led to their route: by path, by method, with a number of their own, and read as the route declares."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Sequence

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.api.base import caller_of
from collector.api.declaring import Route
from collector.api.parameters import Parameters
from collector.api.problems import Problem
from collector.api.transfer import lightened
from collector.doors.gate import forbidden
from collector.telemetry.operations import Doing, Kind, Operations

REQUEST_ID = "x-request-id"
TRACE_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
"""W3C Trace Context, section "traceparent Header"."""


class Numbered:
    """ASGI middleware: gives each request an id, which its answer carries and log lines name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = secrets.token_hex(8)

        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = scope["request_id"]
            await send(message)

        await self._app(scope, receive, numbered)


class OnePath:
    """ASGI app of one path: what each method is answered by. How long that takes is noted in `operations`."""

    def __init__(self, routes: Iterable[Route], clock_ns: Callable[[], int], operations: Operations) -> None:
        self._routes = {route.method: route for route in routes}
        self._clock_ns = clock_ns
        self._operations = operations
        if "GET" in self._routes and not self._routes["GET"].endless:
            self._routes["HEAD"] = self._routes["GET"]
        methods = {*self._routes, "OPTIONS"}
        self._allowed = {"Allow": ", ".join(sorted(methods))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        route = self._routes.get(method)
        if route is not None:
            response = await self._timed(route, Request(scope, receive))
        elif method == "OPTIONS":
            response = Response(status_code=204, headers=self._allowed)
        else:
            raise HTTPException(405, headers=self._allowed)
        await response(scope, receive, send)

    async def _timed(self, route: Route, request: Request) -> Response:
        """What is refused to who asks is no failure of ours."""
        kind = Kind.UNTOLD if route.scope is None else Kind.ANSWER
        operation = self._operations.of(f"answer {route.method} {route.path}", kind)
        doing = self._begun(route, request)
        error = ""
        try:
            response = await self._answer(route, request)
            doing.told["http.response.status_code"] = response.status_code
            return response
        except Problem as problem:
            doing.told["http.response.status_code"] = problem.status
            error = f"status {problem.status}" if problem.status >= 500 else ""
            raise
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            operation.done(doing, error)

    @staticmethod
    def _begun(route: Route, request: Request) -> Doing:
        """A part of the trace of who asks, if that one says which and has it sampled."""
        told = {
            "http.request.method": request.method,
            "http.route": route.path,
            "request_id": request.scope.get("request_id", ""),
        }
        caller = TRACE_PARENT.fullmatch(request.headers.get("traceparent", ""))
        if caller is None:
            return Doing(told=told)
        trace_id, parent_id = bytes.fromhex(caller[1]), bytes.fromhex(caller[2])
        is_sampled = int(caller[3], 16) & 1
        return Doing(told=told, trace_id=trace_id, parent_id=parent_id, is_wanted=bool(is_sampled))

    async def _answer(self, route: Route, request: Request) -> Response:
        """Raises: Problem: the caller may not ask for this, or asks for what the route does not know."""
        if route.scope is not None and not caller_of(request).may(route.scope):
            raise Problem(403, f"{forbidden(route.scope).capitalize()}.")
        if route.parameters is not None and not route.lenient:
            request.scope["parameters"] = Parameters(
                request.query_params.multi_items(), route.parameters, self._clock_ns()
            )
        return await lightened(request, await route.endpoint(request))


def by_path(routes: Sequence[Route]) -> dict[str, list[Route]]:
    """The routes of each path, in the order of their first."""
    found: dict[str, list[Route]] = {}
    for route in routes:
        found.setdefault(route.path, []).append(route)
    return found
