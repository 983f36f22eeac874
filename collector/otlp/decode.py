"""Checked protobuf requests as spans and log records, without touching an attribute that nobody asks for."""

from __future__ import annotations

import base64
import json
from collections.abc import ItemsView, Iterator, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from collector.otlp import messages
from collector.otlp.limits import DEFAULT
from mappers.model import PROXY_SCOPE, AttributeValue, LogRecord, Resource, Scope, Span, SpanEvent, SpanLink

NO_PARENT = bytes(8)

_levels = DEFAULT.value_depth


def keep_levels(levels: int) -> None:
    """From now on lists and maps that lie deeper in a value are JSON text, in this process (`Limits.value_depth`)."""
    global _levels  # an argument would pass through every look-up of an attribute
    _levels = levels


class Attributes(Mapping[str, AttributeValue]):
    """Attributes over the parsed message; a value becomes a Python object when it is looked up.

    Texts and counts are nearly all there is, and asking which of the seven a value is costs a microsecond: they are
    tried first. A message holds one of the seven, so what is not empty is it.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Any) -> None:
        self._values = values

    def __getitem__(self, key: str) -> AttributeValue:
        found = self._values.get(key)  # never `[key]`: upb would add it
        if found is None:
            raise KeyError(key)
        return found.string_value or found.int_value or value(found)

    def get(self, key: str, default: Any = None) -> AttributeValue:
        found = self._values.get(key)
        if found is None:
            return default
        return found.string_value or found.int_value or value(found)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> ItemsView[str, AttributeValue]:
        values = self._values  # its own `items` is written in Python, and slower than looking each key up
        return {
            key: (found := values[key]).string_value or found.int_value or value(found) for key in values
        }.items()

    def __repr__(self) -> str:
        return f"Attributes({dict(self.items())!r})"


def value(found: Any, depth: int = 0) -> AttributeValue:
    """An AnyValue as a Python object; an empty one is None, what lies deeper than `keep_levels` says JSON text."""
    which = found.WhichOneof("value")
    if which is None:
        return None
    if which not in ("array_value", "kvlist_value"):
        return getattr(found, which)
    inner: AttributeValue
    if which == "array_value":
        inner = [value(item, depth + 1) for item in found.array_value.values]
    else:
        inner = {pair.key: value(pair.value, depth + 1) for pair in found.kvlist_value.values}
    return json.dumps(inner, ensure_ascii=False, default=_plain) if depth == _levels else inner


def _plain(found: Any) -> Any:
    """Bytes in JSON."""
    return base64.b64encode(found).decode()


def decode_traces(body: bytes) -> list[Span]:
    """Spans of a request that `check` has let through.

    Raises:
        ValueError: it is not one.
    """
    return spans_of(parse_traces(body))


def parse_traces(body: bytes) -> Any:
    """A request that `check` has let through, as a message.

    Raises:
        ValueError: it is not one.
    """
    return _parsed(messages.TracesRequest, body)


def spans_of(request: Any) -> list[Span]:
    """Spans over the parsed message."""
    spans: list[Span] = []
    for resource_spans in request.resource_spans:
        resource = Resource(Attributes(resource_spans.resource.attributes), resource_spans.schema_url)
        for scope_spans in resource_spans.scope_spans:
            scope = _scope(scope_spans)
            found = [_span(span, resource, scope) for span in scope_spans.spans]
            if scope.name == PROXY_SCOPE:
                for span in found:
                    span.source = "proxy"
            spans += found
    return spans


def decode_logs(body: bytes) -> list[LogRecord]:
    """Log records of a request that `check` has let through.

    Raises:
        ValueError: it is not one.
    """
    return records_of(_parsed(messages.LogsRequest, body))


def records_of(request: Any) -> list[LogRecord]:
    """Log records over the parsed message."""
    records: list[LogRecord] = []
    for resource_logs in request.resource_logs:
        resource = Resource(Attributes(resource_logs.resource.attributes), resource_logs.schema_url)
        for scope_logs in resource_logs.scope_logs:
            scope = _scope(scope_logs)
            records += [_log_record(record, resource, scope) for record in scope_logs.log_records]
    return records


def _parsed(message: Any, body: bytes) -> Any:
    try:
        return message.FromString(body)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def _scope(scoped: Any) -> Scope:
    scope = scoped.scope
    return Scope(scope.name, scope.version, Attributes(scope.attributes), scoped.schema_url)


def _span(span: Any, resource: Resource, scope: Scope) -> Span:
    parent = span.parent_span_id
    events, links, status = span.events, span.links, span.status
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=parent.hex() if len(parent) == 8 and parent != NO_PARENT else "",
        name=span.name,
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=Attributes(span.attributes),
        status_code=status.code,
        status_message=status.message,
        events=[SpanEvent(event.time_unix_nano, event.name, Attributes(event.attributes)) for event in events]
        if events
        else (),
        links=[
            SpanLink(link.trace_id.hex(), link.span_id.hex(), link.trace_state, Attributes(link.attributes))
            for link in links
        ]
        if links
        else (),
        resource=resource,
        scope=scope,
        trace_state=span.trace_state,
    )


def _log_record(record: Any, resource: Resource, scope: Scope) -> LogRecord:
    return LogRecord(
        time_ns=record.time_unix_nano,
        observed_ns=record.observed_time_unix_nano,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        flags=record.flags,
        severity_number=record.severity_number,
        severity_text=record.severity_text,
        event_name=record.event_name,
        body=value(record.body),
        attributes=Attributes(record.attributes),
        resource=resource,
        scope=scope,
    )
