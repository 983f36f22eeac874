"""What Jaeger's clients ask for, as a filter for runs.

Jaeger's API ignores parameters that it does not know, so these do, too; what is known and can not be read is a 400.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from starlette.datastructures import QueryParams

from collector.api.parameters import Parameter, Type
from collector.api.problems import Problem
from collector.api.trace_ids import trace_id_of
from sinks.filter import ATTRIBUTE_PREFIX, Compare, Condition, Every

USUAL_TRACES = 20
MOST_TRACES = 1000
MOST_WHOLE_TRACES = 200
"""Traces with all their spans in one answer."""

V1_SEARCH = (
    Parameter("service", "a service that took part"),
    Parameter("operation", "name of a span of the trace"),
    Parameter("tags", "attributes as a JSON object"),
    Parameter("tag", "an attribute as `key:value`; may be repeated"),
    Parameter("start", "from this time on, in microseconds", Type.INTEGER),
    Parameter("end", "before this time, in microseconds", Type.INTEGER),
    Parameter("limit", "most traces", Type.INTEGER, low=1, high=MOST_WHOLE_TRACES, default=USUAL_TRACES),
    Parameter("minDuration", "at least this long, such as `1.5s`"),
    Parameter("maxDuration", "at most this long"),
    Parameter("traceID", "these traces and nothing else; may be repeated"),
)
V3_SEARCH = (
    Parameter("query.serviceName", "a service that took part; all names also in snake case"),
    Parameter("query.operationName", "name of a span of the trace"),
    Parameter("query.attributes", "attributes as a JSON object"),
    Parameter("query.startTimeMin", "from this time on, RFC 3339"),
    Parameter("query.startTimeMax", "before this time, RFC 3339"),
    Parameter(
        "query.searchDepth", "most traces", Type.INTEGER, low=1, high=MOST_TRACES, default=USUAL_TRACES
    ),
    Parameter("query.durationMin", "at least this long, such as `1.5s`"),
    Parameter("query.durationMax", "at most this long"),
)

_UNIT_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(ns|us|µs|ms|s|m|h)")
_FRACTION = re.compile(r"\.(\d+)")
_FIELDS = {
    "gen_ai.request.model": "model",
    "gen_ai.response.model": "model",
    "gen_ai.agent.name": "agent",
    "gen_ai.tool.name": "tool",
    "gen_ai.conversation.id": "session",
}
"""Attributes that our spans carry in whatever convention they came, and the field that knows them."""


@dataclass(slots=True)
class Search:
    """Which traces. Times in ns, durations in ms."""

    service: str = ""
    operation: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    since_ns: int | None = None
    until_ns: int | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    limit: int = USUAL_TRACES
    trace_ids: list[str] = field(default_factory=list)

    def condition(self) -> Condition:
        parts: list[Condition] = []
        if self.service:
            parts.append(Compare("service", "=", self.service))
        if self.operation:
            parts.append(Compare("span", "=", self.operation))
        if self.min_ms is not None:
            parts.append(Compare("duration", ">=", self.min_ms))
        if self.max_ms is not None:
            parts.append(Compare("duration", "<=", self.max_ms))
        parts += [_attribute(name, value) for name, value in self.attributes.items()]
        return Every(parts)


def _attribute(name: str, value: str) -> Condition:
    if name == "error" and value == "true":
        return Compare("errors", ">", 0.0)
    return Compare(_FIELDS.get(name, ATTRIBUTE_PREFIX + name), "=", value)


def read_v1(query: QueryParams) -> Search:
    """Raises: Problem: 400."""
    attributes = _object("tags", query.get("tags", ""))
    for tag in query.getlist("tag"):
        key, colon, value = tag.partition(":")
        if not colon or not key:
            raise Problem(400, f"malformed 'tag' parameter, expecting key:value, received: {tag}")
        attributes[key] = value
    search = Search(
        query.get("service", ""),
        query.get("operation", ""),
        attributes,
        _microseconds("start", query),
        _microseconds("end", query),
        _milliseconds("minDuration", query.get("minDuration", "")),
        _milliseconds("maxDuration", query.get("maxDuration", "")),
        _count("limit", query.get("limit", ""), MOST_WHOLE_TRACES),
        [trace_id_of(one) for one in query.getlist("traceID") if one],
    )
    if not search.service and not search.trace_ids:
        raise Problem(400, "parameter 'service' is required")
    return search


def read_v3(query: QueryParams, most: int) -> Search:
    """Raises: Problem: 400."""

    def text(*names: str) -> str:
        for name in names:
            if value := query.get(f"query.{name}"):
                return value
        return ""

    return Search(
        text("serviceName", "service_name"),
        text("operationName", "operation_name"),
        _object("query.attributes", text("attributes")),
        _time_ns("query.startTimeMin", text("startTimeMin", "start_time_min")),
        _time_ns("query.startTimeMax", text("startTimeMax", "start_time_max")),
        _milliseconds("query.durationMin", text("durationMin", "duration_min")),
        _milliseconds("query.durationMax", text("durationMax", "duration_max")),
        _count("query.searchDepth", text("searchDepth", "search_depth", "numTraces", "num_traces"), most),
    )


def _object(name: str, text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Problem(400, f"malformed '{name}' parameter, cannot unmarshal JSON: {text[:64]}")
    return {key: _as_stored(value) for key, value in found.items()}


def _as_stored(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _microseconds(name: str, query: QueryParams) -> int | None:
    value = query.get(name, "")
    if not value:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise Problem(400, f"unable to parse param '{name}': {value[:64]!r} is not a number")
    return min(int(value) * 1000, 2**63 - 1)


def _count(name: str, value: str, most: int) -> int:
    if not value:
        return min(USUAL_TRACES, most)
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise Problem(400, f"unable to parse param '{name}': {value[:64]!r} is not a number")
    return max(1, min(int(value) or USUAL_TRACES, most))


def _milliseconds(name: str, value: str) -> float | None:
    if not value or value == "0":
        return None
    parts = _DURATION.findall(value)
    if "".join(number + unit for number, unit in parts) != value:
        raise Problem(400, f"unable to parse param '{name}': {value[:64]!r} is not a duration such as 1.5s")
    return sum(float(number) * _UNIT_NS[unit] for number, unit in parts) / 1e6


def _time_ns(name: str, value: str) -> int | None:
    if not value:
        return None
    fraction = _FRACTION.search(value)
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", value, count=1))
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise Problem(400, f"malformed '{name}' parameter: {value[:64]!r} is not an RFC 3339 time") from None
    return seconds * 10**9 + (int(fraction[1][:9].ljust(9, "0")) if fraction else 0)


def span_kinds(found: Iterable[tuple[str, str]], wanted: str) -> list[dict[str, str]]:
    """Operations by name and kind, as both versions list them; of one kind if one is wanted."""
    told = [{"name": name, "spanKind": kind.lower()} for name, kind in found]
    return [one for one in told if not wanted or one["spanKind"] == wanted.lower()]
