"""Values and sums over many runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from collector.api.aggregation import (
    INTERVALS,
    aggregate_document,
    automatic,
    read_dimensions,
    read_metrics,
    read_zone,
)
from collector.api.base import Routes, RouteTable, caller_of, json_response, need_content, within_project
from collector.api.parameters import Parameters
from collector.api.queries import (
    AGGREGATE_PARAMETERS,
    FACET_PARAMETERS,
    facet_field,
    field_documents,
    read_filter,
)
from sinks.clickhouse import RunFilter
from sinks.filter import ATTRIBUTE_PREFIX


class AnalysisRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            ("GET", "/api/v1/aggregates", self.aggregates),
            ("GET", "/api/v1/facets", self.facets),
        ]

    async def facets(self, request: Request) -> Response:
        """Values of a field (`of`) with the number of runs that have them, for menus and completion."""
        now_ns = self.api.clock_ns()
        parameters = Parameters(request, FACET_PARAMETERS, now_ns=now_ns)
        of = parameters.text("of")
        if of is None:
            return json_response({"data": field_documents()})
        limit = parameters.integer("limit", 20, 1, 1000)
        wanted = RunFilter(
            tenant=caller_of(request).tenant,
            since_ns=parameters.time_ns("since"),
            until_ns=parameters.time_ns("until"),
            where=within_project(request, read_filter(parameters)),
        )
        prefix = parameters.text("prefix") or ""
        field = facet_field(of)
        if field.startswith(ATTRIBUTE_PREFIX):
            need_content(request)
        found = await self.read(self.api.reader.facet, field, prefix, wanted, limit, now_ns)
        return json_response({"data": [{"value": value, "count": count} for value, count in found]})

    async def aggregates(self, request: Request) -> Response:
        """Sums over the events of the runs that the filter chooses: `metrics`, `by` what, per `interval`."""
        now_ns = self.api.clock_ns()
        parameters = Parameters(request, AGGREGATE_PARAMETERS, now_ns=now_ns)
        asked, by, zone = read_metrics(parameters), read_dimensions(parameters), read_zone(parameters)
        interval = (parameters.choices("interval", ["auto", "none", *INTERVALS]) or ("none",))[0]
        wanted = RunFilter(
            tenant=caller_of(request).tenant,
            since_ns=parameters.time_ns("since"),
            until_ns=parameters.time_ns("until"),
            where=within_project(request, read_filter(parameters)),
        )
        if interval == "auto":
            times = await self.read(self.api.reader.event_times, wanted, now_ns)
            first, last = times if times is not None else (now_ns, now_ns)
            interval = automatic(wanted.since_ns or first, wanted.until_ns or last)
        rows = await self.read(
            self.api.reader.aggregate, asked, by, wanted, INTERVALS.get(interval), zone, now_ns
        )
        meta = {
            "since": parameters.text("since"),
            "until": parameters.text("until"),
            "interval": interval,
            "tz": zone,
        }
        return json_response(aggregate_document(rows, asked, by, meta))
