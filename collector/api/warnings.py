"""Warnings: of one run, and of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api import cursors
from collector.api.base import RUN, Routes, RouteTable, caller_of, json_response
from collector.api.declaring import Route, parameters_of
from collector.api.parameters import CURSOR, LIMIT, SINCE, UNTIL, Parameter, Parameters, Type
from collector.api.problems import invalid
from collector.documents import models
from collector.documents.models import ListMeta, Paging
from collector.documents.render import warning_document
from collector.doors.gate import Caller
from sinks.clickhouse.queries.warnings import WarningFilter

CATEGORIES = ("loop", "waste")
SEVERITIES = ("info", "warning", "critical")
STATES = ("active", "resolved", "retracted")
WARNING_PARAMETERS = (
    Parameter("type", "types of warnings", many=True),
    Parameter("category", "loops or waste", choices=CATEGORIES, many=True),
    Parameter("severity", "how bad they are", choices=SEVERITIES, many=True),
    Parameter("state", "how they stand; without it, those that are not retracted", choices=STATES, many=True),
    Parameter("project", "projects", many=True),
    Parameter("run", "ids of runs", many=True),
    Parameter("session", "ids of sessions", many=True),
    Parameter("tool", "tools", many=True),
    Parameter("primary", "only those that lead their incident", Type.FLAG),
    SINCE,
    UNTIL,
    LIMIT,
    CURSOR,
)


class WarningList(TypedDict):
    data: list[models.Warning]
    page: Paging
    meta: ListMeta


class WarningPageMeta(TypedDict):
    """What was applied."""

    sort: str
    limit: int


class WarningPage(TypedDict):
    data: list[models.Warning]
    page: Paging
    meta: WarningPageMeta


class WarningRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route("GET", RUN + "/warnings", self.warnings, WarningList),
            Route(
                "GET",
                "/api/v1/warnings",
                self.all_warnings,
                WarningPage,
                parameters=WARNING_PARAMETERS,
            ),
        ]

    async def warnings(self, request: Request) -> Response:
        """The run's loop and waste warnings."""
        run = await self.run_of(request)
        found = await self.read(self.api.reader.warnings, run.tenant, run.run_id)
        return json_response(
            {
                "data": [warning_document(warning) for warning in found],
                "page": {"next_cursor": None},
                "meta": {"count": len(found)},
            }
        )

    async def all_warnings(self, request: Request) -> Response:
        """Warnings of all runs, the latest first."""
        wanted, limit, cursor, binding = read_parameters(parameters_of(request), caller_of(request))
        page = await self.read(self.api.reader.warning_page, wanted, limit, cursor)
        return json_response(
            {
                "data": [warning_document(warning) for warning in page.warnings],
                "page": {"next_cursor": page.next_cursor and cursors.encode(page.next_cursor, binding)},
                "meta": {"sort": "-last_at", "limit": limit},
            }
        )


def read_parameters(
    parameters: Parameters, caller: Caller
) -> tuple[WarningFilter, int, tuple[int, str, str] | None, str]:
    """Filter, limit, cursor, and what cursors are bound to.

    Raises:
        Problem: 400, naming the parameter.
    """
    since_ns, until_ns = parameters.window_ns()
    wanted = WarningFilter(
        tenant=caller.tenant,
        within_project=caller.project,
        types=parameters.choices("type"),
        categories=parameters.choices("category"),
        severities=parameters.choices("severity"),
        states=parameters.choices("state") or ("active", "resolved"),
        projects=parameters.choices("project"),
        runs=parameters.choices("run"),
        sessions=parameters.choices("session"),
        tools=parameters.choices("tool"),
        primary_only=parameters.flag("primary"),
        since_ns=since_ns,
        until_ns=until_ns,
    )
    binding = parameters.binding()
    given = parameters.text("cursor")
    return (
        wanted,
        parameters.integer("limit"),
        (given and _cursor(given, binding)) or None,
        binding,
    )


def _cursor(given: str, binding: str) -> tuple[int, str, str]:
    key: Sequence[Any] = cursors.decode(given, binding)
    if [type(part) for part in key] != [int, str, str]:
        raise invalid("cursor", "is not one of ours")
    return key[0], key[1], key[2]
