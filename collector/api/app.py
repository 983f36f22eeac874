"""The API and the admin port, put together from their parts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route as PathRoute
from starlette.types import ASGIApp

from collector.api.access import Access
from collector.api.analysis import AnalysisRoutes
from collector.api.annotating import AnnotationRoutes
from collector.api.answering import Numbered, OnePath, by_path
from collector.api.assistants import AssistantRoutes
from collector.api.base import READERS, Api, Routes, RouteTable
from collector.api.comparison import ComparisonRoutes
from collector.api.configuration import ConfigurationRoutes
from collector.api.contents import ContentRoutes
from collector.api.database import DatabaseRoutes
from collector.api.debugging import DebugRoutes, Insiders
from collector.api.deletions import DeletionRoutes
from collector.api.discovery import DiscoveryRoutes
from collector.api.event_ids import EventIdRoutes
from collector.api.events import EventRoutes
from collector.api.exchanges import ExchangeRoutes
from collector.api.exporting import ExportRoutes
from collector.api.finding import FindingRoutes
from collector.api.groups import GroupRoutes
from collector.api.health import AdminRoutes, HealthRoutes, StatusRoutes
from collector.api.importing import ImportRoutes
from collector.api.jaeger.routes import JaegerRoutes
from collector.api.looplens.routes import TAKES, LoopLensRoutes
from collector.api.messages import MessageRoutes
from collector.api.plugins import PluginRoutes
from collector.api.previews import PreviewRoutes
from collector.api.problems import (
    Problem,
    on_error,
    on_http_exception,
    on_keys_error,
    on_problem,
    on_store_error,
)
from collector.api.prompts import PromptRoutes
from collector.api.raw import RawRoutes
from collector.api.runs import RunRoutes
from collector.api.search import SearchRoutes
from collector.api.spans import SpanRoutes
from collector.api.streaming import StreamRoutes
from collector.api.structure import StructureRoutes
from collector.api.tapping import TapRoutes
from collector.api.tokens import TokenRoutes
from collector.api.warnings import WarningRoutes
from collector.doors.gate import Gate
from collector.doors.keys import KeysError
from collector.web.page import page_routes
from sinks.base import PermanentError, RetryableError

PARTS: tuple[type[Routes], ...] = (
    StatusRoutes,
    AnalysisRoutes,
    GroupRoutes,
    SearchRoutes,
    RunRoutes,
    EventRoutes,
    StructureRoutes,
    AnnotationRoutes,
    MessageRoutes,
    DeletionRoutes,
    ExportRoutes,
    ImportRoutes,
    ContentRoutes,
    RawRoutes,
    EventIdRoutes,
    PreviewRoutes,
    FindingRoutes,
    PromptRoutes,
    ComparisonRoutes,
    SpanRoutes,
    WarningRoutes,
    ExchangeRoutes,
    PluginRoutes,
    TokenRoutes,
    DatabaseRoutes,
    ConfigurationRoutes,
    StreamRoutes,
    TapRoutes,
    JaegerRoutes,
    LoopLensRoutes,
    AssistantRoutes,
    HealthRoutes,
)
"""In the order in which the discovery lists them."""


def routes_of(api: Api) -> RouteTable:
    """Every route of the API."""
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="api-reader")
    routes = [route for part in PARTS for route in part(api, pool).table()]
    return DiscoveryRoutes(api, pool, routes).table() + routes


def api_app(api: Api, *, gate: Gate, hosts: Collection[str], local: bool) -> ASGIApp:
    """The API and the page; see `Access` for `gate` and `hosts`. `local`: only this machine reaches it."""
    guard = [Middleware(Access, gate=gate, hosts=hosts, takes=TAKES if local else frozenset())]
    return _application(routes_of(api), api, guard, page_routes())


def admin_app(api: Api, *, gate: Gate) -> ASGIApp:
    """Health for probes and metrics, without a token; a look inside for who is here and has a key that `gate` knows."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="admin-reader")
    table = [route for part in (HealthRoutes, AdminRoutes, DebugRoutes) for route in part(api, pool).table()]
    return _application(table, api, [Middleware(Insiders, gate=gate)])


def _application(
    table: RouteTable,
    api: Api,
    middleware: list[Middleware],
    page: Sequence[PathRoute] = (),
) -> ASGIApp:
    documents = [
        # Sessions are named by programs, which like slashes.
        PathRoute(
            path.replace("{session_id}", "{session_id:path}"), OnePath(routes, api.clock_ns, api.operations)
        )
        for path, routes in by_path(table).items()
    ]
    app = Starlette(
        routes=[*documents, *page],
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
    return Numbered(app)
