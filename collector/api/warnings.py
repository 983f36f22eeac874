"""Warnings: of one run, and of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from collector.api import cursors
from collector.api.base import RUN, Routes, RouteTable, caller_of, json_response
from collector.api.parameters import Parameters
from collector.api.problems import invalid
from collector.api.render import warning_document
from collector.gate import Caller
from sinks.clickhouse.warnings import WarningFilter

CATEGORIES = ("loop", "waste")
SEVERITIES = ("info", "warning", "critical")
STATES = ("active", "resolved", "retracted")
WARNING_PARAMETERS = (
    "type", "category", "severity", "state", "project", "run", "session", "tool", "primary", "since", "until",
    "limit", "cursor",
)  # fmt: skip
"""Query parameters of the list of warnings."""


class WarningRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            ("GET", RUN + "/warnings", self.warnings),
            ("GET", "/api/v1/warnings", self.all_warnings),
        ]

    async def warnings(self, request: Request) -> Response:
        """The run's loop and waste warnings."""
        self.parameters(request)
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
        wanted, limit, cursor, binding = read_parameters(request, self.api.clock_ns(), caller_of(request))
        page = await self.read(self.api.reader.warning_page, wanted, limit, cursor)
        return json_response(
            {
                "data": [warning_document(warning) for warning in page.warnings],
                "page": {"next_cursor": page.next_cursor and cursors.encode(page.next_cursor, binding)},
                "meta": {"sort": "-last_at", "limit": limit},
            }
        )


def read_parameters(
    request: Request, now_ns: int, caller: Caller
) -> tuple[WarningFilter, int, tuple[int, str, str] | None, str]:
    """Filter, limit, cursor, and what cursors are bound to.

    Raises:
        Problem: 400, naming the parameter.
    """
    parameters = Parameters(request, WARNING_PARAMETERS, now_ns=now_ns)
    since_ns, until_ns = parameters.time_ns("since"), parameters.time_ns("until")
    if since_ns is not None and until_ns is not None and since_ns >= until_ns:
        raise invalid("until", "must be later than since")
    wanted = WarningFilter(
        tenant=caller.tenant,
        within_project=caller.project,
        types=parameters.choices("type"),
        categories=parameters.choices("category", CATEGORIES),
        severities=parameters.choices("severity", SEVERITIES),
        states=parameters.choices("state", STATES) or ("active", "resolved"),
        projects=parameters.choices("project"),
        runs=parameters.choices("run"),
        sessions=parameters.choices("session"),
        tools=parameters.choices("tool"),
        primary_only=parameters.choices("primary", ("true", "false")) == ("true",),
        since_ns=since_ns,
        until_ns=until_ns,
    )
    binding = "&".join(
        f"{name}={value}"
        for name, value in sorted(request.query_params.multi_items())
        if name not in ("cursor", "limit")
    )
    given = parameters.text("cursor")
    return (
        wanted,
        parameters.integer("limit", 50, 1, 1000),
        (given and _cursor(given, binding)) or None,
        binding,
    )


def _cursor(given: str, binding: str) -> tuple[int, str, str]:
    key: Sequence[Any] = cursors.decode(given, binding)
    if [type(part) for part in key] != [int, str, str]:
        raise invalid("cursor", "is not one of ours")
    return key[0], key[1], key[2]
