"""A look inside (`/debug/…` of the admin port): for who is on this machine and has a key to manage the collector."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from collector.api.access import stranger
from collector.api.base import Routes, RouteTable, caller_of
from collector.api.declaring import TEXT, Answer, Route
from collector.api.problems import Problem
from collector.doors.gate import Gate
from collector.doors.keys import Scope
from collector.status.inspection import Inspection

DEBUG = "/debug/"


class Insiders:
    """ASGI middleware: paths of `DEBUG` are for this machine and those with a key. The others are everybody's."""

    def __init__(self, app: ASGIApp, *, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(DEBUG):
            if is_loopback((scope.get("client") or ("",))[0]):
                problem = await stranger(self._gate, scope)
            else:
                problem = Problem(403, "This is answered on the machine itself only.")
            if problem is not None:
                await problem.response(scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_loopback(peer: str) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class DebugRoutes(Routes):
    def table(self) -> RouteTable:
        answer = dict[str, object]
        return [
            Route("GET", f"{DEBUG}pipelinez", self.pipelinez, answer, scope=Scope.ADMIN),
            Route("GET", f"{DEBUG}tracez", self.tracez, answer, scope=Scope.ADMIN),
            Route("GET", f"{DEBUG}configz", self.configz, Answer(media=TEXT), scope=Scope.ADMIN),
            Route("GET", f"{DEBUG}threads", self.threads, answer, scope=Scope.ADMIN),
        ]

    async def pipelinez(self, request: Request) -> Response:
        """Receivers, journals, pipelines and sinks: what is where, and how much waits."""
        inspection = self._inspection(request)
        await self.renewed()
        return await self._told(inspection.pipelines)

    async def tracez(self, request: Request) -> Response:
        """How long the collector's own requests and batches took, with samples, and of those that failed."""
        return await self._told(self._inspection(request).traces)

    async def configz(self, request: Request) -> Response:
        """The configuration as it holds, from all sources, without secrets."""
        return Response(self._inspection(request).configuration(), media_type="text/plain")

    async def threads(self, request: Request) -> Response:
        """Where each thread is."""
        return await self._told(self._inspection(request).threads)

    def _inspection(self, request: Request) -> Inspection:
        """Raises: Problem (403): the caller has a tenant or a project, and this is about everybody's."""
        caller = caller_of(request)
        if caller.tenant or caller.project:
            raise Problem(403, "The collector is everybody's: this takes a key without tenant and project.")
        if self.api.inspection is None:
            raise Problem(404, "There is nothing to be looked into here.")
        return self.api.inspection

    async def _told(self, tell: Callable[[], dict[str, Any]]) -> Response:
        document = await self.read(tell)
        return Response(
            orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )
