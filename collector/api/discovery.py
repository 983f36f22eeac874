"""The way in: what there is, for people and for programs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import Api, Routes, RouteTable, caller_of, json_response
from collector.api.declaring import Route
from collector.api.openapi import openapi_document
from collector.doors.keys import Scope

OPENAPI = "/api/v1/openapi.json"


class RouteDescription(TypedDict):
    """A route."""

    method: str
    path: str
    purpose: str
    scope: str | None


class Asker(TypedDict):
    """Who asks."""

    key: str | None
    """Id of their key; null for the API token, or where none is needed."""
    tenant: str | None
    project: str | None
    """The only one that they see and send to."""
    may: list[Scope]
    """Scopes that they have."""


class Discovery(TypedDict):
    """The way in."""

    name: str
    version: str
    openapi: str
    asker: Asker
    routes: list[RouteDescription]


class DiscoveryRoutes(Routes):
    """Args:
    others: every other route.
    """

    def __init__(self, api: Api, pool: ThreadPoolExecutor, others: RouteTable) -> None:
        super().__init__(api, pool)
        self._routes = [
            Route("GET", "/api/v1", self.discovery, Discovery),
            Route("GET", OPENAPI, self.openapi, dict[str, object]),
            *others,
        ]

    def table(self) -> RouteTable:
        return self._routes[:2]

    async def discovery(self, request: Request) -> Response:
        """The version, what the caller's key may, and every route with its purpose."""
        caller = caller_of(request)
        found: Discovery = {
            "name": "eddyline",
            "version": self.api.status.version,
            "openapi": OPENAPI,
            "asker": {
                "key": caller.key_id or None,
                "tenant": caller.tenant or None,
                "project": caller.project or None,
                "may": [scope for scope in Scope if caller.may(scope)],
            },
            "routes": [
                {"method": route.method, "path": route.path, "purpose": route.purpose, "scope": route.scope}
                for route in self._routes
            ],
        }
        return json_response(found)

    async def openapi(self, request: Request) -> Response:
        """This API as an OpenAPI 3.1 document."""
        return json_response(await self.read(lambda: self._document))

    @cached_property
    def _document(self) -> dict[str, object]:
        return openapi_document(self._routes, self.api.status.version)
