"""Spans as received, and how they were understood."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from collector.api import models
from collector.api.base import RUN, Api, Routes, RouteTable, json_response
from collector.api.declaring import Route
from collector.api.problems import Problem
from collector.api.render import span_document
from collector.keys import Scope
from collector.mapping import explanation_document, stored_span
from mappers.model import Run


class SpanRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route("GET", RUN + "/spans", self.spans, models.SpanList, scope=Scope.CONTENT),
            Route(
                "GET",
                "/api/v1/spans/{run_id}/{span_id}/mapping",
                self.mapping,
                models.Mapping,
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
