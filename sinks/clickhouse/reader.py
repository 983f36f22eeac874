"""What is stored, as model objects. All SQL that reads is in `sinks.clickhouse.queries`; values only ever enter it as
bound parameters.

A row may be there more than once until the engine has merged it away, so every query takes the newest of each
identity: by `IngestedAt` for events and spans, by `Version` for runs.
"""

from __future__ import annotations

from sinks.clickhouse.queries.analysis import AnalysisQueries
from sinks.clickhouse.queries.database import DatabaseQueries
from sinks.clickhouse.queries.events import EventQueries
from sinks.clickhouse.queries.finding import FindingQueries
from sinks.clickhouse.queries.groups import GroupQueries
from sinks.clickhouse.queries.outline import OutlineQueries
from sinks.clickhouse.queries.records import RecordQueries
from sinks.clickhouse.queries.runs import Order, Page, RunQueries
from sinks.clickhouse.queries.search import SearchQueries
from sinks.clickhouse.queries.selecting import RunFilter
from sinks.clickhouse.queries.spans import SpanQueries
from sinks.clickhouse.queries.sweeping import SweepQueries
from sinks.clickhouse.queries.traces import TraceQueries
from sinks.clickhouse.queries.warnings import WarningQueries
from sinks.clickhouse.queries.whole import WholeQueries

__all__ = ["Order", "Page", "Reader", "RunFilter"]


class Reader(
    RunQueries,
    EventQueries,
    OutlineQueries,
    SpanQueries,
    TraceQueries,
    RecordQueries,
    GroupQueries,
    SearchQueries,
    FindingQueries,
    WarningQueries,
    AnalysisQueries,
    SweepQueries,
    WholeQueries,
    DatabaseQueries,
):
    """Queries of one store. May be used from any number of threads."""
