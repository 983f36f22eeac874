"""The configuration: as it holds, what it may be, and whether another would do. It is changed in its own sources."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import Routes, RouteTable, caller_of, json_response
from collector.api.declaring import Route
from collector.api.problems import Problem
from collector.api.queries import read_json
from collector.components import components
from collector.config import Settings, problems_in, redacted
from collector.config.meaning import not_understood
from collector.doors.keys import Scope


class Configuration(TypedDict):
    """The configuration as it holds, without secrets."""

    config: dict[str, Any]


class ConfigurationCheck(TypedDict):
    """Whether a configuration could be used."""

    valid: bool
    problems: list[str]
    """Each with its setting."""


class ConfigurationRoutes(Routes):
    def table(self) -> RouteTable:
        root = "/api/v1/config"
        return [
            Route("GET", root, self.config, Configuration, scope=Scope.ADMIN),
            Route("GET", f"{root}/schema", self.config_schema, dict[str, object], scope=Scope.ADMIN),
            Route("GET", f"{root}/components", self.config_components, dict[str, object], scope=Scope.ADMIN),
            Route(
                "POST",
                f"{root}:validate",
                self.validate_config,
                ConfigurationCheck,
                scope=Scope.ADMIN,
                body=dict[str, object],
            ),
        ]

    async def config(self, request: Request) -> Response:
        """The configuration as it holds, from all sources, without secrets; for who has the API token."""
        _owner(request)
        if self.api.settings is None:
            raise Problem(404, "No configuration is told here.")
        return json_response({"config": redacted(self.api.settings())})

    async def config_schema(self, request: Request) -> Response:
        """The JSON Schema of the configuration."""
        return json_response(await self.read(Settings.model_json_schema))

    async def config_components(self, request: Request) -> Response:
        """Receivers, conventions and sinks that this collector is made of."""
        return json_response(await self.read(components))

    async def validate_config(self, request: Request) -> Response:
        """Whether a configuration could be used; nothing is changed, and no variables are read."""
        _owner(request)
        document = await read_json(request)
        found = await self.read(_problems, document)
        return json_response({"valid": not found, "problems": found})


def _owner(request: Request) -> None:
    """A tenant's administrator is not the collector's."""
    if not caller_of(request).is_owner:
        raise Problem(403, "Only the API token may look at the configuration.")


def _problems(document: dict[str, Any]) -> list[str]:
    settings, found = problems_in(document)
    return found if settings is None else not_understood(settings)
