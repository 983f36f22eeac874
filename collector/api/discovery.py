"""The way in: what there is, for people and for programs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import Api, Routes, RouteTable, json_response
from collector.api.declaring import Route
from collector.api.openapi import openapi_document

OPENAPI = "/api/v1/openapi.json"


class RouteDescription(TypedDict):
    """A route."""

    method: str
    path: str
    purpose: str
    scope: str | None


class Discovery(TypedDict):
    """The way in."""

    name: str
    version: str
    openapi: str
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
        """The version, and every route with its purpose."""
        found: Discovery = {
            "name": "eddyline",
            "version": self.api.status.version,
            "openapi": OPENAPI,
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
