"""Spans as received, and how they were understood."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import RUN, Api, Routes, RouteTable, json_response
from collector.api.declaring import Route
from collector.api.problems import Problem
from collector.documents import models
from collector.documents.models import ListMeta, Paging, described
from collector.documents.render import span_document
from collector.doors.keys import Scope
from collector.understanding.mapping import explanation_document, stored_span
from mappers.model import Run


class SpanList(TypedDict):
    data: list[models.Span]
    page: Paging
    meta: ListMeta


class ScopeName(TypedDict):
    """The instrumentation scope."""

    name: str
    version: str | None


class ShownBy(TypedDict):
    """A convention, and what showed it."""

    id: str
    shown_by: str


class FoundValue(TypedDict):
    """A place that has a value for a field."""

    value: str
    source: str
    convention: str


class FieldReading(FoundValue):
    """Where a field's value was taken from, and which other places had one."""

    others: list[FoundValue]


@described
class Mapping(TypedDict):
    """How one span was understood."""

    trace_id: str
    span_id: str
    name: str
    scope: ScopeName
    conventions: list[ShownBy]
    kind: str
    kind_rule: str | None
    told_kind: str
    """The kind that the rules gave, before corrections."""
    quirks: list[str]
    status: str
    fields: dict[str, FieldReading]
    unread: list[str]
    """Attributes that no rule or field names."""
    entries: list[str]
    no_entry: str | None
    duplicate_of: str | None


class SpanRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route("GET", RUN + "/spans", self.spans, SpanList, scope=Scope.CONTENT),
            Route(
                "GET",
                "/api/v1/spans/{run_id}/{span_id}/mapping",
                self.mapping,
                Mapping,
                scope=Scope.CONTENT,
            ),
        ]

    async def spans(self, request: Request) -> Response:
        """The run's spans with all attributes, as received."""
        run = await self.run_of(request)
        spans = await self.read(self.api.reader.spans, run)
        return json_response(
            {
                "data": [span_document(span) for span in spans],
                "page": {"next_cursor": None},
                "meta": {"count": len(spans)},
            }
        )

    async def mapping(self, request: Request) -> Response:
        """How a span was understood: conventions, kind, where each field came from, what was left unread."""
        run = await self.run_of(request)
        return json_response(
            await self.read(explained, self.api, run, request.path_params["span_id"].lower())
        )


def explained(api: Api, run: Run, span_id: str) -> dict[str, Any]:
    """How a span of the run was understood.

    Raises: Problem (404).
    """
    row = api.reader.span(run, span_id)
    if row is None:
        raise Problem(404, f"The run has no span {span_id!r}. A span's id is 16 hex digits.")
    span = stored_span(row)
    events = api.reader.event_rows(run.tenant, run.run_id, [(span_id, 0)])
    normalizer = api.normalizer()
    return explanation_document(
        span, events[0] if events else normalizer.normalize(span), normalizer.explain(span)
    )
