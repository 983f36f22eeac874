"""Runs put together by their session; and projects, users, services, agents, tools and models with their numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api import cursors
from collector.api.base import Routes, RouteTable, caller_of, json_response
from collector.api.declaring import NDJSON, Answer, Route, parameters_of
from collector.api.listing import list_response
from collector.api.parameters import CURSOR, LIMIT, Parameter, Parameters
from collector.api.problems import Problem
from collector.api.queries import FILTERS, run_filter
from collector.documents import models
from collector.documents.models import Paging, Time, described
from collector.documents.render import milliseconds, money, rfc3339, run_document
from collector.doors.keys import Scope
from sinks.clickhouse import RunFilter
from sinks.clickhouse.queries.groups import SessionCursor
from sinks.filter import Compare, Every
from sinks.groups import Group, Session, Spread

SESSIONS = "/api/v1/sessions"
SESSION_PARAMETERS = (*FILTERS, LIMIT, CURSOR)
ONE_SESSION_PARAMETERS = (
    Parameter("project", "the session's project, where several have a session of that id"),
    LIMIT,
    CURSOR,
)
GROUP_PARAMETERS = (*FILTERS, LIMIT)


class SessionTokens(TypedDict):
    """Sums over the runs; null where nobody told any."""

    input: int | None
    output: int | None


class SessionCounts(TypedDict):
    """Sums over the runs."""

    runs: int
    llm_calls: int
    tool_calls: int
    errors: int
    warnings: int


@described
class SessionSummary(TypedDict):
    """Runs that share a conversation; numbers are of those that the filter chooses."""

    session_id: str
    project: str
    started_at: Time
    ended_at: Time
    """The newest end of its runs."""
    last_run_at: Time
    duration_ms: float
    statuses: dict[str, int]
    """Runs by status."""
    users: list[str]
    agents: list[str]
    models: list[str]
    tools: list[str]
    """Up to 20 names of each."""
    usage: SessionTokens
    cost_usd: float | None
    counts: SessionCounts
    input: str | None
    """What its first run read, and its last run wrote."""
    output: str | None


class SessionListMeta(TypedDict):
    """What was applied."""

    sort: str
    limit: int


class SessionList(TypedDict):
    data: list[SessionSummary]
    page: Paging
    meta: SessionListMeta


class OneSession(TypedDict):
    """A session with its runs, the latest first."""

    session: SessionSummary
    data: list[models.Run]
    page: Paging


@described
class DurationSpread(TypedDict):
    """Of durations in milliseconds; null if there were none."""

    p50: float | None
    p95: float | None


@described
class GroupSummary(TypedDict):
    """What has one value in common."""

    value: str
    runs: int
    calls: int
    """Of projects and users their runs, of agents their turns, else calls of models and tools."""
    errors: int
    error_rate: float
    """Errors by calls, 0 to 1."""
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    duration_ms: DurationSpread
    ttft_ms: DurationSpread
    last_at: Time
    """When the last of them began."""


class GroupListMeta(TypedDict):
    """What was applied."""

    since: str | None
    until: str | None
    limit: int
    truncated: bool


class GroupList(TypedDict):
    data: list[GroupSummary]
    page: Paging
    meta: GroupListMeta


class GroupRoutes(Routes):
    def table(self) -> RouteTable:
        listed = (self.projects, self.users, self.services, self.agents, self.tools, self.models)
        return [
            Route(
                "GET",
                SESSIONS,
                self.sessions,
                (Answer(SessionList), Answer(media=NDJSON)),
                parameters=SESSION_PARAMETERS,
            ),
            Route(
                "GET",
                SESSIONS + "/{session_id}",
                self.session,
                OneSession,
                parameters=ONE_SESSION_PARAMETERS,
                problems=(409,),
            ),
            *(
                Route(
                    "GET",
                    f"/api/v1/{endpoint.__name__}",
                    endpoint,
                    (Answer(GroupList), Answer(media=NDJSON)),
                    parameters=GROUP_PARAMETERS,
                )
                for endpoint in listed
            ),
        ]

    # ------------------------------------------------------------------- sessions

    async def sessions(self, request: Request) -> Response:
        """Conversations over runs, those with the latest runs first."""
        parameters = parameters_of(request)
        wanted, limit = run_filter(request, parameters), parameters.integer("limit")
        binding = parameters.binding()
        cursor: SessionCursor | None = _key(parameters, binding, int, str, str)
        page = await self.read(self.api.reader.sessions, wanted, limit, cursor, parameters.now_ns)
        content = caller_of(request).may(Scope.CONTENT)
        document: SessionList = {
            "data": [_session_document(session, content=content) for session in page.sessions],
            "page": {"next_cursor": page.next_cursor and cursors.encode(page.next_cursor, binding)},
            "meta": {"sort": "-last_run_at", "limit": limit},
        }
        return list_response(request, document)

    async def session(self, request: Request) -> Response:
        """One session with its runs, the latest first."""
        parameters = parameters_of(request)
        caller = caller_of(request)
        session_id = request.path_params["session_id"]
        project = caller.project or parameters.text("project")
        parts = [Compare("session", "=", session_id)]
        if project:
            parts.append(Compare("project", "=", project))
        wanted = RunFilter(tenant=caller.tenant, where=Every(parts))
        found = (await self.read(self.api.reader.sessions, wanted, 2, None, parameters.now_ns)).sessions
        if not found:
            raise Problem(404, f"There is no session {session_id!r}.")
        if len(found) > 1:
            raise Problem(409, f"Several projects have a session {session_id!r}: say which with `project`.")
        (session,) = found
        wanted = replace(wanted, where=Every([parts[0], Compare("project", "=", session.project)]))
        binding, limit = parameters.binding(), parameters.integer("limit")
        cursor = _key(parameters, binding, int, str)
        page = await self.read(self.api.reader.runs, wanted, limit, cursor, parameters.now_ns)
        content = caller.may(Scope.CONTENT)
        runs = await self.read(self.api.reader.with_said, page.runs) if content else page.runs
        document: OneSession = {
            "session": _session_document(session, content=content),
            "data": [run_document(run, parameters.now_ns, content=content) for run in runs],
            "page": {"next_cursor": page.next_cursor and cursors.encode(page.next_cursor, binding)},
        }
        return json_response(document)

    # ------------------------------------------------------------------- what runs have in common

    async def projects(self, request: Request) -> Response:
        """Projects with their runs: how many, cost, tokens, how long, how many failed."""
        return await self._groups(request, "projects")

    async def users(self, request: Request) -> Response:
        """Users with their runs: how many, cost, tokens, how long, how many failed."""
        return await self._groups(request, "users")

    async def services(self, request: Request) -> Response:
        """Services with the calls of models and tools that they made."""
        return await self._groups(request, "services")

    async def agents(self, request: Request) -> Response:
        """Agents with their turns: how many, how long, how many failed."""
        return await self._groups(request, "agents")

    async def tools(self, request: Request) -> Response:
        """Tools with their executions: how many, how long, how many failed."""
        return await self._groups(request, "tools")

    async def models(self, request: Request) -> Response:
        """Models with their calls: how many, cost, tokens, latency, time to the first token, how many failed."""
        return await self._groups(request, "models")

    async def _groups(self, request: Request, by: str) -> Response:
        parameters = parameters_of(request)
        wanted, limit = run_filter(request, parameters), parameters.integer("limit")
        found = await self.read(self.api.reader.groups, by, wanted, limit + 1, parameters.now_ns)
        document: GroupList = {
            "data": [_group_document(group) for group in found[:limit]],
            "page": {"next_cursor": None},
            "meta": {
                "since": parameters.text("since"),
                "until": parameters.text("until"),
                "limit": limit,
                "truncated": len(found) > limit,
            },
        }
        return list_response(request, document)


def _key(parameters: Parameters, binding: str, *kinds: type) -> Any:
    """The sort key of the page before; None for the first page."""
    given = parameters.text("cursor")
    return None if given is None else cursors.decode(given, binding, *kinds)


def _session_document(session: Session, *, content: bool) -> SessionSummary:
    """A session; what it read and wrote only with `content`."""
    return {
        "session_id": session.session_id,
        "project": session.project,
        "started_at": rfc3339(session.start_ns),
        "ended_at": rfc3339(session.end_ns),
        "last_run_at": rfc3339(session.last_start_ns),
        "duration_ms": milliseconds(session.end_ns - session.start_ns),
        "statuses": dict(session.statuses),
        "users": list(session.users),
        "agents": list(session.agents),
        "models": list(session.models),
        "tools": list(session.tools),
        "usage": {"input": session.input_tokens, "output": session.output_tokens},
        "cost_usd": money(session.cost_usd),
        "counts": {
            "runs": session.runs,
            "llm_calls": session.llm_calls,
            "tool_calls": session.tool_calls,
            "errors": session.errors,
            "warnings": session.warnings,
        },
        "input": (content and session.input) or None,
        "output": (content and session.output) or None,
    }


def _group_document(group: Group) -> GroupSummary:
    return {
        "value": group.value,
        "runs": group.runs,
        "calls": group.calls,
        "errors": group.errors,
        "error_rate": round(group.errors / group.calls, 6),
        "input_tokens": group.input_tokens,
        "output_tokens": group.output_tokens,
        "cost_usd": money(group.cost_usd),
        "duration_ms": _spread(group.duration_ms),
        "ttft_ms": _spread(group.ttft_ms),
        "last_at": rfc3339(group.last_ns),
    }


def _spread(spread: Spread) -> DurationSpread:
    return {"p50": spread.p50, "p95": spread.p95}
