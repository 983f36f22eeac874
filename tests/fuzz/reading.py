"""What is decoded of a request is what OpenTelemetry's own messages hold, also when it was sent as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.otlp import Checked, Signal, check, decode_logs, decode_traces, transcode
from collector.otlp.check import CUT_KEYS, CUT_VALUES, TOO_MANY_PARTS
from collector.otlp.decode import NO_PARENT
from collector.otlp.limits import DEFAULT
from mappers.model import AttributeValue, LogRecord, Span
from tests.otlp_json import to_json

REQUESTS = {Signal.TRACES: ExportTraceServiceRequest, Signal.LOGS: ExportLogsServiceRequest}
Row = dict[str, Any]


def read_alike(signal: Signal, body: bytes) -> None:
    """Asked of requests that are kept whole and uncut: of others it is not what was sent.

    Raises: AssertionError
    """
    try:
        sent = REQUESTS[signal].FromString(body)
        checked = check(signal, body)
        expected = _sent(signal, sent)
    except (DecodeError, ValueError, RecursionError):
        return
    if checked.rejected or checked.changes.keys() & {CUT_KEYS, CUT_VALUES, TOO_MANY_PARTS}:
        return
    if any(_levels(value) > DEFAULT.value_depth for row in expected for value in row.values()):
        return  # is JSON text from there on
    _agree(expected, _decoded(signal, checked.body))
    if expected:
        by_json = transcode(signal, to_json(sent))
        assert (by_json.accepted, by_json.rejected) == (checked.accepted, 0), _why(by_json)
        _agree(expected, _decoded(signal, by_json.body))


def _why(checked: Checked) -> str:
    return checked.reasons or "nothing is rejected"


def _agree(expected: Sequence[Row], found: Sequence[Row]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(expected, found, strict=True):
        for name, value in one.items():
            assert _plain(other[name]) == _plain(value), name


def _plain(value: Any) -> Any:
    """With NaN equal to itself, numbers of other types unequal, and maps in any order."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return repr(value)


def _levels(value: Any) -> int:
    """How many lists and maps lie in one another; of a row's lists and maps themselves, too."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_levels, value.values() if isinstance(value, dict) else value), default=0)


# --------------------------------------------------------------------------- as it was sent


def _sent(signal: Signal, request: Any) -> list[Row]:
    if signal is Signal.TRACES:
        return [
            _sent_span(span) | _shared(resource, scope)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
    return [
        _sent_record(record) | _shared(resource, scope)
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def _shared(resource: Any, scope: Any) -> Row:
    return {
        "resource": _map(resource.resource.attributes),
        "scope": (scope.scope.name, scope.scope.version),
        "attributes of the scope": _map(scope.scope.attributes),
        "schemas": (resource.schema_url, scope.schema_url),
    }


def _sent_span(span: Any) -> Row:
    parent = span.parent_span_id
    return {
        "ids": (span.trace_id.hex(), span.span_id.hex()),
        "parent": parent.hex() if len(parent) == 8 and parent != NO_PARENT else "",
        "said": (span.name, span.kind, span.trace_state, span.status.code, span.status.message),
        "times": (span.start_time_unix_nano, span.end_time_unix_nano),
        "attributes": _map(span.attributes),
        "events": [(event.name, event.time_unix_nano, _map(event.attributes)) for event in span.events],
        "links": [
            (link.trace_id.hex(), link.span_id.hex(), link.trace_state, _map(link.attributes))
            for link in span.links
        ],
    }


def _sent_record(record: Any) -> Row:
    return {
        "ids": (record.trace_id.hex(), record.span_id.hex()),
        "said": (record.event_name, record.severity_number, record.severity_text, record.flags),
        "times": (record.time_unix_nano, record.observed_time_unix_nano),
        "body": _value(record.body),
        "attributes": _map(record.attributes),
    }


def _map(pairs: Iterable[Any]) -> dict[str, AttributeValue]:
    """Of equal keys the last holds."""
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> AttributeValue:
    kind = value.WhichOneof("value")
    if kind in (None, "string_value_strindex"):  # which only profiles may have
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return _map(value.kvlist_value.values) if kind == "kvlist_value" else getattr(value, kind)


# --------------------------------------------------------------------------- as it is decoded


def _decoded(signal: Signal, body: bytes) -> list[Row]:
    if signal is Signal.TRACES:
        return [_decoded_span(span) | _around(span) for span in decode_traces(body)]
    return [_decoded_record(record) | _around(record) for record in decode_logs(body)]


def _around(item: Span | LogRecord) -> Row:
    return {
        "resource": dict(item.resource.attributes),
        "scope": (item.scope.name, item.scope.version),
        "attributes of the scope": dict(item.scope.attributes),
        "schemas": (item.resource.schema_url, item.scope.schema_url),
    }


def _decoded_span(span: Span) -> Row:
    return {
        "ids": (span.trace_id, span.span_id),
        "parent": span.parent_span_id,
        "said": (span.name, span.kind, span.trace_state, span.status_code, span.status_message),
        "times": (span.start_ns, span.end_ns),
        "attributes": dict(span.attributes),
        "events": [(event.name, event.time_ns, dict(event.attributes)) for event in span.events],
        "links": [
            (link.trace_id, link.span_id, link.trace_state, dict(link.attributes)) for link in span.links
        ],
    }


def _decoded_record(record: LogRecord) -> Row:
    return {
        "ids": (record.trace_id, record.span_id),
        "said": (record.event_name, record.severity_number, record.severity_text, record.flags),
        "times": (record.time_ns, record.observed_ns),
        "body": record.body,
        "attributes": dict(record.attributes),
    }
