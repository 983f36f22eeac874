"""Jaeger's third JSON: traces as OTLP in `{"result": {"resourceSpans": […]}}`, errors as `{"error": {…}}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from collector.api.jaeger.trace import Trace, TraceSpan
from sinks.clickhouse.queries.traces import TraceSummary

WARNINGS = "@jaeger@warnings"
"""The attribute by which Jaeger carries a span's warnings in OTLP."""


def failure(status: int, message: str) -> dict[str, Any]:
    return {"error": {"httpCode": status, "message": message}}


def traces_document(traces: Iterable[Trace]) -> dict[str, Any]:
    """All spans, by their resource and scope."""
    resources: dict[str, dict[str, Any]] = {}
    for trace in traces:
        for span in trace.spans:
            resource = {**span.resource, "service.name": span.service or "unknown"}
            key = json.dumps(resource, sort_keys=True, default=str)
            found = resources.setdefault(
                key, {"resource": {"attributes": _attributes(resource)}, "scopes": {}}
            )
            found["scopes"].setdefault((span.scope, span.scope_version), []).append(_span(span))
    return {
        "result": {
            "resourceSpans": [
                {
                    "resource": found["resource"],
                    "scopeSpans": [
                        {"scope": {"name": name, "version": version}, "spans": spans}
                        for (name, version), spans in found["scopes"].items()
                    ],
                }
                for found in resources.values()
            ]
        }
    }


def _span(span: TraceSpan) -> dict[str, Any]:
    attributes = span.attributes | ({WARNINGS: span.warnings} if span.warnings else {})
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_span_id,
        "traceState": span.trace_state,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.start_ns + span.duration_ns),
        "attributes": _attributes(attributes),
        "events": [
            {
                "timeUnixNano": str(event.time_ns),
                "name": event.name,
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ],
        "links": [{"traceId": trace_id, "spanId": span_id} for trace_id, span_id in span.links],
        "status": {"code": span.status, "message": span.status_message},
    }


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}


def summary_document(summary: TraceSummary) -> dict[str, Any]:
    """One line of a list of traces."""
    return {
        "traceId": summary.trace_id,
        "rootServiceName": summary.root_service,
        "rootOperationName": summary.root_name,
        "minStartTimeUnixNano": str(summary.start_ns),
        "maxEndTimeUnixNano": str(summary.end_ns),
        "spanCount": sum(part.spans for part in summary.services),
        "errorSpanCount": sum(part.errors for part in summary.services),
        "orphanSpanCount": summary.orphans,
        "services": [
            {"name": part.service, "spanCount": part.spans, "errorSpanCount": part.errors}
            for part in summary.services
        ],
    }
