"""How requests ask for sums and time series."""

from __future__ import annotations

import zoneinfo
from collections.abc import Sequence
from typing import NotRequired

from typing_extensions import TypedDict

from collector.api.parameters import Parameter, Parameters
from collector.api.problems import invalid
from collector.api.queries import FILTERS
from collector.documents.models import Time, described
from collector.documents.render import rfc3339
from collector.exporting.formats import Csv
from collector.exporting.tables import REAL, TEXT
from sinks import aggregates
from sinks.aggregates import (
    DIMENSIONS,
    METRICS,
    MOST_DIMENSIONS,
    MOST_ROWS,
    QUANTILES,
    Asked,
)

INTERVALS = {
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "1h": 3_600,
    "6h": 21_600,
    "1d": 86_400,
    "7d": 604_800,
    "30d": 2_592_000,
}
"""Seconds by name."""
AUTO_INTERVALS = 60
"""`auto` takes the shortest interval that cuts the time into no more than this."""
USUAL_METRICS = "runs,llm_calls,llm_errors,input_tokens,output_tokens,cost_usd"
AGGREGATE_PARAMETERS = (
    *FILTERS,
    Parameter("metrics", "what to sum up; distributions as `llm_ms:p95`", many=True, default=USUAL_METRICS),
    Parameter("by", "at most two things to split by", choices=tuple(DIMENSIONS), many=True),
    Parameter(
        "interval", "length of the steps of a series", choices=("auto", "none", *INTERVALS), default="none"
    ),
    Parameter("tz", "time zone in which days begin, such as `Europe/Berlin`", default="UTC"),
)
"""Query parameters of sums."""


@described
class AggregateRow(TypedDict):
    """One combination of keys, within one interval if there are intervals."""

    time: NotRequired[Time]
    """Start of the interval."""
    keys: dict[str, str]
    values: dict[str, float | None]


class AggregateMeta(TypedDict):
    """What was applied."""

    since: str | None
    until: str | None
    interval: str
    tz: str
    truncated: bool


class AggregateTable(TypedDict):
    data: list[AggregateRow]
    meta: AggregateMeta


def read_metrics(parameters: Parameters) -> list[Asked]:
    """`metrics=cost_usd,llm_ms:p95`.

    Raises:
        Problem: 400.
    """
    wanted = []
    for written in parameters.choices("metrics"):
        name, colon, statistic = written.partition(":")
        if name not in METRICS:
            raise invalid("metrics", f"{name!r} is not one of them", list(METRICS))
        if METRICS[name].quantiles != bool(colon) or (colon and statistic not in QUANTILES):
            allowed = [f"{name}:{one}" for one in QUANTILES] if METRICS[name].quantiles else [name]
            raise invalid("metrics", f"{written!r} can not be asked for so", allowed)
        wanted.append(Asked(name, statistic))
    return list(dict.fromkeys(wanted))


def read_dimensions(parameters: Parameters) -> tuple[str, ...]:
    """`by=model,tool`.

    Raises:
        Problem: 400.
    """
    by = tuple(dict.fromkeys(parameters.choices("by")))
    if len(by) > MOST_DIMENSIONS:
        raise invalid("by", f"at most {MOST_DIMENSIONS} at a time")
    return by


def read_zone(parameters: Parameters) -> str:
    """`tz=Europe/Berlin`; UTC if not given.

    Raises:
        Problem: 400.
    """
    zone = parameters.text("tz") or ""
    if zone not in zoneinfo.available_timezones():
        raise invalid("tz", f"{zone!r} is no time zone of the IANA database")
    return zone


def automatic(since_ns: int, until_ns: int) -> str:
    """The interval that suits a time."""
    seconds = max(0, until_ns - since_ns) / 1e9
    return next((name for name, length in INTERVALS.items() if seconds <= length * AUTO_INTERVALS), "30d")


def aggregate_document(
    rows: Sequence[aggregates.AggregateRow],
    asked: Sequence[Asked],
    by: Sequence[str],
    interval: str,
    zone: str,
    parameters: Parameters,
) -> AggregateTable:
    return {
        "data": [_row(row, asked, by) for row in rows[:MOST_ROWS]],
        "meta": {
            "since": parameters.text("since"),
            "until": parameters.text("until"),
            "interval": interval,
            "tz": zone,
            "truncated": len(rows) > MOST_ROWS,
        },
    }


def aggregate_table(
    rows: Sequence[aggregates.AggregateRow], asked: Sequence[Asked], by: Sequence[str], interval: str
) -> bytes:
    """The same as CSV: when (of a series), what it is split by, and the sums."""
    texts = (*(("time",) if interval != "none" else ()), *by)
    table = Csv({**dict.fromkeys(texts, TEXT), **{str(one): REAL for one in asked}})
    documents = [_row(row, asked, by) for row in rows[:MOST_ROWS]]
    lines = [{"time": row.get("time"), **row["keys"], **row["values"]} for row in documents]
    return table.rows(lines) + table.end()


def _row(row: aggregates.AggregateRow, asked: Sequence[Asked], by: Sequence[str]) -> AggregateRow:
    found: AggregateRow = {
        "keys": dict(zip(by, row.keys, strict=True)),
        "values": {str(one): value for one, value in zip(asked, row.values, strict=True)},
    }
    if row.start_ns is not None:
        found["time"] = rfc3339(row.start_ns)
    return found
