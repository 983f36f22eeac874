"""Spans and log records for tests: captured ones, decoded with the plain OTLP protobuf classes, and made ones."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mappers.assemble import assemble
from mappers.foreign import is_candidate, join
from mappers.model import Event, LogRecord, Resource, Run, Scope, Span, SpanEvent, SpanLink
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from tests.corpus import Scenario

_IDS = ("traceId", "spanId", "parentSpanId")


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


def _as_protobuf_json(node: Any) -> Any:
    """OTLP/JSON has ids in hex and may have null for NaN; protobuf's own JSON has base64 and no null."""
    if isinstance(node, list):
        return [_as_protobuf_json(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode() if key in _IDS else _as_protobuf_json(item)
        for key, item in node.items()
        if item is not None
    }


def _request(body: bytes) -> ExportTraceServiceRequest:
    if not body.startswith(b"{"):
        return ExportTraceServiceRequest.FromString(body)
    document = _as_protobuf_json(json.loads(body))
    return json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _decode(body: bytes) -> list[Span]:
    spans = []
    for resource_spans in _request(body).resource_spans:
        resource = Resource(_mapping(resource_spans.resource.attributes), resource_spans.schema_url)
        for scope_spans in resource_spans.scope_spans:
            scope = Scope(scope_spans.scope.name, scope_spans.scope.version)
            spans += [_span(span, resource, scope) for span in scope_spans.spans]
    return spans


def captured_spans(scenario: Scenario) -> list[Span]:
    """All spans of a captured scenario, in the order in which they were sent."""
    return [span for file in scenario.traces for span in _decode(file.read_bytes())]


def captured_requests(scenario: Scenario) -> list[ExportTraceServiceRequest]:
    """The requests of a captured scenario."""
    return [_request(file.read_bytes()) for file in scenario.traces]


def captured_logs(scenario: Scenario) -> list[LogRecord]:
    """All log records of a captured scenario, in the order in which they were sent."""
    return [record for file in scenario.logs for record in _decode_logs(file.read_bytes())]


def captured_runs(scenario: Scenario) -> tuple[list[Run], list[Event]]:
    """The runs and events of a captured scenario, of its spans and its log records."""
    normalizer = Normalizer()
    reader = RecordReader(normalizer)
    told = [normalizer.normalize(span) for span in captured_spans(scenario)]
    told += [event for record in captured_logs(scenario) if (event := reader.event(record)) is not None]
    assert not normalizer.faults
    by_run: dict[str, dict[str, Event]] = defaultdict(dict)
    for event in told:
        by_run[event.run_id][event.span_id] = event
    foreign = join([event for events in by_run.values() for event in events.values() if is_candidate(event)])
    runs = []
    for run_id, events in by_run.items():
        known = {span_id: told for (run, span_id), told in foreign.items() if run == run_id}
        if not all(event.part for event in events.values()):
            runs.append(assemble(list(events.values()), known).run)
    return runs, [event for events in by_run.values() for event in events.values()]


def _decode_logs(body: bytes) -> list[LogRecord]:
    records = []
    if body.startswith(b"{"):
        document = _as_protobuf_json(json.loads(body))
        request = json_format.ParseDict(document, ExportLogsServiceRequest(), ignore_unknown_fields=True)
    else:
        request = ExportLogsServiceRequest.FromString(body)
    for resource_logs in request.resource_logs:
        resource = Resource(_mapping(resource_logs.resource.attributes), resource_logs.schema_url)
        for scope_logs in resource_logs.scope_logs:
            scope = Scope(scope_logs.scope.name, scope_logs.scope.version)
            records += [
                LogRecord(
                    time_ns=record.time_unix_nano,
                    observed_ns=record.observed_time_unix_nano,
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    flags=record.flags,
                    severity_number=record.severity_number,
                    severity_text=record.severity_text,
                    event_name=record.event_name,
                    body=_value(record.body),
                    attributes=_mapping(record.attributes),
                    resource=resource,
                    scope=scope,
                )
                for record in scope_logs.log_records
            ]
    return records


def span_of(attributes: dict[str, Any] | None = None, /, **given: Any) -> Span:
    """A span with these attributes; anything else by keyword."""
    usual: dict[str, Any] = {
        "trace_id": "0" * 31 + "1",
        "span_id": "0" * 15 + "1",
        "parent_span_id": "",
        "name": "span",
        "kind": 1,
        "start_ns": 1_000_000_000,
        "end_ns": 2_000_000_000,
        "status_code": 0,
        "status_message": "",
        "events": [],
        "links": [],
        "resource": Resource(),
        "scope": Scope(),
    }
    return Span(**usual | given, attributes=attributes or {})
