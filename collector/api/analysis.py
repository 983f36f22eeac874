"""Values and sums over many runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.aggregation import (
    AGGREGATE_PARAMETERS,
    INTERVALS,
    AggregateTable,
    aggregate_document,
    aggregate_table,
    automatic,
    read_dimensions,
    read_metrics,
    read_zone,
)
from collector.api.base import Routes, RouteTable, json_response, need_content
from collector.api.declaring import CSV, Answer, Route, parameters_of
from collector.api.listing import prefers
from collector.api.queries import FACET_PARAMETERS, FieldDescription, facet_field, field_documents, run_filter
from collector.exporting.formats import Csv
from sinks.aggregates import MOST_ROWS
from sinks.filter import ATTRIBUTE_PREFIX


class FacetValue(TypedDict):
    """A value, and how many runs have it."""

    value: str
    count: int


class FacetValues(TypedDict):
    data: list[FacetValue]


class FieldList(TypedDict):
    data: list[FieldDescription]


class AnalysisRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "GET",
                "/api/v1/aggregates",
                self.aggregates,
                (Answer(AggregateTable), Answer(media=CSV)),
                parameters=AGGREGATE_PARAMETERS,
            ),
            Route(
                "GET",
                "/api/v1/facets",
                self.facets,
                FacetValues | FieldList,
                parameters=FACET_PARAMETERS,
            ),
        ]

    async def facets(self, request: Request) -> Response:
        """Values of a field (`of`) with the number of runs that have them, for menus and completion."""
        parameters = parameters_of(request)
        of = parameters.text("of")
        if of is None:
            return json_response({"data": field_documents()})
        limit = parameters.integer("limit")
        wanted = run_filter(request, parameters)
        prefix = parameters.text("prefix") or ""
        field = facet_field(of)
        if field.startswith(ATTRIBUTE_PREFIX):
            need_content(request)
        found = await self.read(self.api.reader.facet, field, prefix, wanted, limit, parameters.now_ns)
        return json_response({"data": [{"value": value, "count": count} for value, count in found]})

    async def aggregates(self, request: Request) -> Response:
        """Sums over the events of the runs that the filter chooses: `metrics`, `by` what, per `interval`.

        Who accepts CSV rather than JSON gets a table; `X-Truncated: true` says that it does not have all rows.
        """
        parameters = parameters_of(request)
        now_ns = parameters.now_ns
        asked, by, zone = read_metrics(parameters), read_dimensions(parameters), read_zone(parameters)
        interval = parameters.choice("interval") or "none"
        wanted = run_filter(request, parameters)
        if interval == "auto":
            times = await self.read(self.api.reader.event_times, wanted, now_ns)
            first, last = times if times is not None else (now_ns, now_ns)
            interval = automatic(wanted.since_ns or first, wanted.until_ns or last)
        rows = await self.read(
            self.api.reader.aggregate, asked, by, wanted, INTERVALS.get(interval), zone, now_ns
        )
        if prefers(request, CSV):
            truncated = {"X-Truncated": "true"} if len(rows) > MOST_ROWS else {}
            return Response(
                aggregate_table(rows, asked, by, interval),
                media_type=Csv.media,
                headers={"Cache-Control": "no-store", **truncated},
            )
        return json_response(aggregate_document(rows, asked, by, interval, zone, parameters))
