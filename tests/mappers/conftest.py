"""Decodes the captured payloads with the plain OTLP protobuf classes, so that these tests need no collector."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mappers.model import Resource, Scope, Span, SpanEvent, SpanLink

CORPUS = Path(__file__).parent.parent / "data" / "corpus"
EXPECTATIONS: dict[str, Any] = json.loads((CORPUS / "expectations.json").read_text())["scenarios"]


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _mapping(value.kvlist_value.values)
    return getattr(value, kind)


def _mapping(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _span(span: Any, resource: Resource, scope: Scope) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_mapping(span.attributes),
        status_code=span.status.code,
        status_message=span.status.message,
        events=[SpanEvent(e.time_unix_nano, e.name, _mapping(e.attributes)) for e in span.events],
        links=[
            SpanLink(x.trace_id.hex(), x.span_id.hex(), x.trace_state, _mapping(x.attributes))
            for x in span.links
        ],
        resource=resource,
        scope=scope,
        trace_state=span.trace_state,
    )


def _request(body: bytes) -> ExportTraceServiceRequest:
    if not body.startswith(b"{"):
        return ExportTraceServiceRequest.FromString(body)
    document = json.loads(body)
    for resource_spans in document["resourceSpans"]:
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                for holder in (span, *span.get("links", ())):
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if key in holder:
                            holder[key] = bytes.fromhex(holder[key]).hex()
    request = ExportTraceServiceRequest()
    json_format.ParseDict(_base64_ids(document), request, ignore_unknown_fields=True)
    return request


def _base64_ids(node: Any) -> Any:
    """OTLP/JSON writes ids in hex, protobuf's own JSON in base64; it also knows no `doubleValue: null`."""
    import base64

    if isinstance(node, list):
        return [_base64_ids(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode()
        if key in ("traceId", "spanId", "parentSpanId")
        else _base64_ids(item)
        for key, item in node.items()
        if not (key == "doubleValue" and item is None)
    }


def decode(body: bytes) -> list[Span]:
    spans = []
    for resource_spans in _request(body).resource_spans:
        resource = Resource(_mapping(resource_spans.resource.attributes), resource_spans.schema_url)
        for scope_spans in resource_spans.scope_spans:
            scope = Scope(scope_spans.scope.name, scope_spans.scope.version)
            spans += [_span(span, resource, scope) for span in scope_spans.spans]
    return spans


def captured_spans(scenario: str) -> list[Span]:
    """All spans of one captured scenario (`openinference/openai/chat`), in the order they were sent."""
    folder = CORPUS / scenario.rpartition("/")[0]
    files: Sequence[str] = EXPECTATIONS[scenario]["files"]["traces"]
    return [span for name in files for span in decode((folder / name).read_bytes())]


@pytest.fixture(scope="session")
def captured() -> Callable[[str], list[Span]]:
    return captured_spans
