"""Stored spans and log records as the OTLP/JSON that they came from, as far as the store keeps it.

The store keeps attributes as text. What reads the same when it is written again becomes the number or truth that it
was; lists and maps stay JSON texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collector.otlp import Signal
from collector.times import nanoseconds
from mappers.model import DEFAULT_PROJECT, Resource
from mappers.project import project_of
from sinks.clickhouse.attributes import text

PROJECT = "loop.project"
"""Resource attribute that tells the project where nothing else does."""

_KINDS = {"Internal": 1, "Server": 2, "Client": 3, "Producer": 4, "Consumer": 5}
_CODES = {"Ok": 1, "Error": 2}
_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,20})?(?:e[+-]?\d{1,3})?")


def requests(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Signal, dict[str, Any]]]:
    """Requests with these rows of the shape `spans`, one for each signal."""
    for signal, outer, inner, items, item in (
        (Signal.TRACES, "resourceSpans", "scopeSpans", "spans", _span),
        (Signal.LOGS, "resourceLogs", "scopeLogs", "logRecords", _record),
    ):
        resources: dict[str, dict[str, Any]] = {}
        scopes: dict[tuple[str, str], dict[str, Any]] = {}
        for row in rows:
            if row["signal"] != ("span" if signal is Signal.TRACES else "log"):
                continue
            attributes = _of_resource(row)
            of_resource, of_scope = repr(attributes), repr(row["scope"])
            if of_resource not in resources:
                resources[of_resource] = {"resource": {"attributes": _attributes(attributes)}, inner: []}
            if (of_resource, of_scope) not in scopes:
                scope = row["scope"]
                scopes[of_resource, of_scope] = {
                    "scope": {
                        "name": scope["name"],
                        "version": scope["version"] or "",
                        "attributes": _attributes(scope["attributes"]),
                    },
                    items: [],
                }
                resources[of_resource][inner].append(scopes[of_resource, of_scope])
            scopes[of_resource, of_scope][items].append(item(row))
        if resources:
            yield signal, {outer: list(resources.values())}


def _of_resource(row: Mapping[str, Any]) -> dict[str, str]:
    resource: dict[str, str] = row["resource"]
    if row["project"] in (DEFAULT_PROJECT, project_of(Resource(resource))):
        return resource
    return {**resource, PROJECT: row["project"]}


def _span(row: Mapping[str, Any]) -> dict[str, Any]:
    started = nanoseconds(row["started_at"])
    return {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        "parentSpanId": row["parent_span_id"] or "",
        "traceState": row["trace_state"] or "",
        "name": row["name"],
        "kind": _KINDS.get(row["kind"], 0),
        "startTimeUnixNano": str(started),
        "endTimeUnixNano": str(started + round(row["duration_ms"] * 10**6)),
        "attributes": _attributes(row["attributes"]),
        "events": [
            {
                "timeUnixNano": str(nanoseconds(event["time"])),
                "name": event["name"],
                "attributes": _attributes(event["attributes"]),
            }
            for event in row["events"]
        ],
        "links": [
            {
                "traceId": link["trace_id"],
                "spanId": link["span_id"],
                "attributes": _attributes(link["attributes"]),
            }
            for link in row["links"]
        ],
        "status": {"code": _CODES.get(row["status"]["code"], 0), "message": row["status"]["message"] or ""},
    }


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    time_ns = str(nanoseconds(row["started_at"]))
    return {
        "timeUnixNano": time_ns,
        "observedTimeUnixNano": time_ns,
        "severityNumber": row["severity"]["number"],
        "severityText": row["severity"]["text"],
        "eventName": row["event_name"],
        "body": _value(row["body"]),
        "attributes": _attributes(row["attributes"]),
        "flags": row["flags"],
        "traceId": row["trace_id"] or "",
        "spanId": row["span_id"] or "",
    }


def _attributes(attributes: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(stored: str) -> dict[str, Any]:
    if stored in ("true", "false"):
        return {"boolValue": stored == "true"}
    if _NUMBER.fullmatch(stored):
        number = float(stored) if "." in stored or "e" in stored else int(stored)
        if text(number) == stored:
            return {"doubleValue": number} if isinstance(number, float) else {"intValue": stored}
    return {"stringValue": stored}
