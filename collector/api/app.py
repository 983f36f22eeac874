"""The API and the admin port, put together from their parts."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collector.api.access import Access
from collector.api.analysis import AnalysisRoutes
from collector.api.base import READERS, Api, Routes, RouteTable, json_response
from collector.api.health import AdminRoutes, HealthRoutes, StatusRoutes
from collector.api.problems import (
    Problem,
    on_error,
    on_http_exception,
    on_keys_error,
    on_problem,
    on_store_error,
)
from collector.api.runs import RunRoutes
from collector.api.spans import SpanRoutes
from collector.api.tapping import TapRoutes
from collector.api.tokens import TokenRoutes
from collector.api.warnings import WarningRoutes
from collector.gate import Gate
from collector.keys import KeysError
from sinks.base import PermanentError, RetryableError

PARTS: tuple[type[Routes], ...] = (
    StatusRoutes,
    AnalysisRoutes,
    RunRoutes,
    SpanRoutes,
    WarningRoutes,
    TokenRoutes,
    TapRoutes,
    HealthRoutes,
)
"""In the order in which the discovery lists them."""


class Discovery(Routes):
    """The way in."""

    def __init__(self, api: Api, pool: ThreadPoolExecutor) -> None:
        super().__init__(api, pool)
        self._routes: RouteTable = [
            ("GET", "/api/v1", self.discovery),
            *(route for part in PARTS for route in part(api, pool).table()),
        ]

    def table(self) -> RouteTable:
        """Every route of the API."""
        return self._routes

    async def discovery(self, request: Request) -> Response:
        """The version, and every route with its purpose."""
        self.parameters(request)
        return json_response(
            {
                "name": "eddyline",
                "version": self.api.status.version,
                "routes": [
                    {"method": method, "path": path, "purpose": (endpoint.__doc__ or "").partition("\n")[0]}
                    for method, path, endpoint in self.table()
                ],
            }
        )


def routes_of(api: Api) -> RouteTable:
    """Every route of the API."""
    return Discovery(api, ThreadPoolExecutor(READERS, thread_name_prefix="api-reader")).table()


def api_app(api: Api, *, gate: Gate, hosts: Collection[str]) -> Starlette:
    """The API; see `Access` for `gate` and `hosts`."""
    return _application(routes_of(api), [Middleware(Access, gate=gate, hosts=hosts)])


def admin_app(api: Api) -> Starlette:
    """Health for probes and metrics, without a token."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="admin-reader")
    return _application([*HealthRoutes(api, pool).table(), *AdminRoutes(api, pool).table()], [])


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
