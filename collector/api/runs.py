"""Runs: lists of them, and one."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

import orjson
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api import cursors
from collector.api.base import RUN, Routes, RouteTable, caller_of, json_response, within_project
from collector.api.declaring import MARKDOWN, NDJSON, Answer, Route, parameters_of
from collector.api.grouping import RUN_FIELDS, run_groups
from collector.api.listing import list_response, prefers
from collector.api.parameters import Parameters
from collector.api.queries import (
    BODY_PARAMETERS,
    RUN_PARAMETERS,
    SORTS,
    read_body_filter,
    read_filter,
    read_ids,
    read_json,
)
from collector.content import ContentReader, affordable
from collector.documents import models
from collector.documents.models import Paging, described
from collector.documents.render import run_document
from collector.doors.keys import Scope
from mappers.assemble import settle
from mappers.conversation import conversation
from mappers.model import Run
from mappers.transcript import transcript
from sinks.clickhouse import RunFilter
from sinks.filter import Condition

NO_FILTER = ("fields", "count")
"""Parameters that say what is shown and not what is chosen."""


class RunListMeta(TypedDict):
    """What was applied."""

    since: str | None
    until: str | None
    sort: str
    limit: int
    total: NotRequired[int]


class RunList(TypedDict):
    data: list[models.Run]
    page: Paging
    meta: RunListMeta


class PartialRunList(TypedDict):
    data: list[models.PartialRun]
    page: Paging
    meta: RunListMeta


class RunBatch(TypedDict):
    data: list[models.Run]
    missing: list[str]


class PartialRunBatch(TypedDict):
    data: list[models.PartialRun]
    missing: list[str]


RUN_LISTS = (Answer(RunList | PartialRunList), Answer(media=NDJSON))


@described
class RunSearch(TypedDict, total=False):
    """What to look for: everything that is given must hold."""

    filter: dict[str, Any]
    """`{"and": […]}`, `{"or": […]}`, `{"not": …}`, or `{"field": …, "op": …, "value": …}`."""
    q: str
    """A search text."""
    since: str
    until: str
    include: Literal["all"]
    sort: str
    limit: int
    cursor: str
    fields: str
    count: Literal["estimate", "exact"]


class RunIds(TypedDict):
    """Up to 500 of them."""

    ids: list[str]


class RunRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route("GET", "/api/v1/runs", self.runs, RUN_LISTS, parameters=RUN_PARAMETERS),
            Route("POST", "/api/v1/runs:search", self.search_runs, RUN_LISTS, body=RunSearch),
            Route(
                "POST",
                "/api/v1/runs:batch",
                self.batch_runs,
                RunBatch | PartialRunBatch,
                parameters=(RUN_FIELDS,),
                body=RunIds,
            ),
            Route(
                "GET",
                RUN,
                self.run,
                (Answer(models.Run | models.PartialRun), Answer(media=MARKDOWN)),
                parameters=(RUN_FIELDS,),
            ),
        ]

    async def runs(self, request: Request) -> Response:
        """Runs, newest first or by `sort`; `q` is a search text, other parameters narrow further."""
        parameters = parameters_of(request)
        where = read_filter(parameters)
        binding = parameters.binding(*NO_FILTER)
        return await self._page(request, parameters, where, binding)

    async def search_runs(self, request: Request) -> Response:
        """Runs, chosen by a JSON filter: `{"filter": {…}, "since": …, "sort": …, "limit": …, "cursor": …}`."""
        body = await read_json(request)
        where = read_body_filter(body)
        parameters = Parameters.of_body(body, BODY_PARAMETERS, self.api.clock_ns())
        binding = orjson.dumps(
            {name: value for name, value in body.items() if name not in ("cursor", "limit", *NO_FILTER)},
            option=orjson.OPT_SORT_KEYS,
        ).decode()
        return await self._page(request, parameters, where, binding)

    async def batch_runs(self, request: Request) -> Response:
        """Up to 500 runs by id in one request: `{"ids": […]}`; ids that are not found are listed."""
        ids = read_ids(await read_json(request))
        now_ns = self.api.clock_ns()
        caller = caller_of(request)
        found = await self.read(self.api.reader.runs_by_id, caller.tenant, ids)
        groups = run_groups(request, parameters_of(request))
        own = [run for run in found.values() if caller.project in ("", run.project)]
        if groups.content:
            own = await self.read(self.api.reader.with_said, own)
        found = {run.run_id: run for run in own}
        return json_response(
            {
                "data": [
                    groups.of(run_document(found[run_id], now_ns, content=groups.content))
                    for run_id in ids
                    if run_id in found
                ],
                "missing": [run_id for run_id in ids if run_id not in found],
            }
        )

    async def _page(
        self, request: Request, parameters: Parameters, where: Condition, binding: str
    ) -> Response:
        groups = run_groups(request, parameters)
        now_ns = parameters.now_ns
        limit = parameters.integer("limit")
        sort = parameters.choice("sort") or "-started_at"
        since_ns, until_ns = parameters.window_ns()
        wanted = RunFilter(
            tenant=caller_of(request).tenant,
            since_ns=since_ns,
            until_ns=until_ns,
            where=within_project(request, where),
            include_all=parameters.choice("include") == "all",
        )
        given = parameters.text("cursor")
        cursor = cursors.run_key(given, binding) if given is not None else None
        page = await self.read(self.api.reader.runs, wanted, limit, cursor, now_ns, SORTS[sort])
        meta: RunListMeta = {
            "since": parameters.text("since"),
            "until": parameters.text("until"),
            "sort": sort,
            "limit": limit,
        }
        if how := parameters.choice("count"):
            exact = how == "exact"
            meta["total"] = await self.read(self.api.reader.count_runs, wanted, now_ns, exact)
        cursor_after = page.next_cursor and cursors.encode(page.next_cursor, binding)

        def answer() -> Response:
            runs = self.api.reader.with_said(page.runs) if groups.content else page.runs
            shown = [groups.of(run_document(run, now_ns, content=groups.content)) for run in runs]
            return list_response(
                request, {"data": shown, "page": {"next_cursor": cursor_after}, "meta": meta}
            )

        return await self.read(answer)

    async def run(self, request: Request) -> Response:
        """One run; as `text/markdown` a short text for people and language models."""
        groups = run_groups(request, parameters_of(request))
        run = await self.run_of(request)
        if not prefers(request, MARKDOWN):
            if groups.content:
                (run,) = await self.read(self.api.reader.with_said, [run])
            return json_response(groups.of(run_document(run, self.api.clock_ns(), content=groups.content)))
        text = await self.read(self._transcript, run, caller_of(request).may(Scope.CONTENT))
        return Response(text, media_type=MARKDOWN, headers={"Cache-Control": "no-store"})

    def _transcript(self, run: Run, content: bool) -> str:
        said = None
        if content:
            events = self.api.reader.events(run, False)
            reader = ContentReader(self.api.reader, self.api.normalizer(), run, events)
            said = (one for one in conversation(reader.conversation(affordable(reader.calls()))) if one.new)
        warnings = self.api.reader.warnings(run.tenant, run.run_id)
        return transcript(run, settle(run, self.api.clock_ns()), warnings, said)
