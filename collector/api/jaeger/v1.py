"""Jaeger's first JSON: `{"data": …, "total": …, "limit": …, "offset": …, "errors": …}`, times in microseconds, values
as typed tags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from collector.api.jaeger.trace import Trace, TraceSpan
from mappers.model import StatusCode

SPAN_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
SAMPLED = 1


def envelope(data: Any) -> dict[str, Any]:
    total = len(data) if isinstance(data, list) else 0
    return {"data": data, "total": total, "limit": 0, "offset": 0, "errors": None}


def failure(status: int, message: str) -> dict[str, Any]:
    error = {"code": status, "msg": message}
    return {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": [error]}


def trace_document(trace: Trace) -> dict[str, Any]:
    processes: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    spans = []
    for span in trace.spans:
        process = {
            "serviceName": span.service or "unknown",
            "tags": _tags({name: value for name, value in span.resource.items() if name != "service.name"}),
        }
        known = json.dumps(process, sort_keys=True)
        name = names.setdefault(known, f"p{len(names) + 1}")
        processes[name] = process
        spans.append(_span(span, name))
    return {
        "traceID": trace.trace_id,
        "spans": spans,
        "processes": processes,
        "warnings": trace.warnings or None,
    }


def _span(span: TraceSpan, process: str) -> dict[str, Any]:
    references = [
        {"refType": "FOLLOWS_FROM", "traceID": trace_id, "spanID": span_id}
        for trace_id, span_id in span.links
    ]
    if span.parent_span_id:
        parent = {"refType": "CHILD_OF", "traceID": span.trace_id, "spanID": span.parent_span_id}
        references.insert(0, parent)
    return {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "flags": SAMPLED,
        "operationName": span.name,
        "references": references,
        "startTime": span.start_ns // 1000,
        "duration": span.duration_ns // 1000,
        "tags": _tags({**span.attributes, **_of_otel(span)}),
        "logs": [
            {
                "timestamp": event.time_ns // 1000,
                "fields": _tags({"event": event.name, **event.attributes}),
            }
            for event in span.events
        ],
        "processID": process,
        "warnings": span.warnings or None,
    }


def _of_otel(span: TraceSpan) -> dict[str, Any]:
    """What OpenTelemetry has fields for and Jaeger has tags."""
    told: dict[str, Any] = {"span.kind": SPAN_KINDS.get(span.kind, "internal")}
    if span.scope:
        told["otel.scope.name"] = span.scope
    if span.scope_version:
        told["otel.scope.version"] = span.scope_version
    if span.trace_state:
        told["w3c.tracestate"] = span.trace_state
    if span.status == StatusCode.ERROR:
        told |= {"otel.status_code": "ERROR", "error": True}
    elif span.status == StatusCode.OK:
        told["otel.status_code"] = "OK"
    if span.status_message:
        told["otel.status_description"] = span.status_message
    return told


def _tags(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_tag(key, value) for key, value in values.items()]


def _tag(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"key": key, "type": "bool", "value": value}
    if isinstance(value, int):
        return {"key": key, "type": "int64", "value": value}
    if isinstance(value, float):
        return {"key": key, "type": "float64", "value": value}
    if isinstance(value, str):
        return {"key": key, "type": "string", "value": value}
    return {"key": key, "type": "string", "value": json.dumps(value, ensure_ascii=False)}
