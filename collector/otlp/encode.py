"""Items that were changed since they were decoded, back in the request that they were decoded from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from collector.otlp.messages import serialized
from mappers.model import AttributeValue, LogRecord, Span

_INT64 = range(-(2**63), 2**63)


def with_spans(request: Any, spans: Sequence[Span]) -> bytes:
    """The request with what these say: all of its spans, in order. Fields that we do not read stay."""
    number = iter(spans)
    for of_resource in request.resource_spans:
        resource = None
        for of_scope in of_resource.scope_spans:
            scope = None
            for message in of_scope.spans:
                span = next(number)
                resource, scope = span.resource, span.scope
                message.name, message.trace_state = span.name, span.trace_state
                message.status.message = span.status_message
                put(message.attributes, span.attributes)
                for to, event in zip(message.events, span.events, strict=False):
                    to.name = event.name
                    put(to.attributes, event.attributes)
                for to, link in zip(message.links, span.links, strict=False):
                    put(to.attributes, link.attributes)
                del message.events[len(span.events) :], message.links[len(span.links) :]
            if scope is not None:
                put(of_scope.scope.attributes, scope.attributes)
        if resource is not None:
            put(of_resource.resource.attributes, resource.attributes)
    return serialized(request)


def with_records(request: Any, records: Sequence[LogRecord]) -> bytes:
    """The same for log records."""
    number = iter(records)
    for of_resource in request.resource_logs:
        resource = None
        for of_scope in of_resource.scope_logs:
            scope = None
            for message in of_scope.log_records:
                record = next(number)
                resource, scope = record.resource, record.scope
                message.body.Clear()
                _set(message.body, record.body)
                put(message.attributes, record.attributes)
            if scope is not None:
                put(of_scope.scope.attributes, scope.attributes)
        if resource is not None:
            put(of_resource.resource.attributes, resource.attributes)
    return serialized(request)


def put(attributes: Any, values: Mapping[str, AttributeValue]) -> None:
    """Makes the attributes of a message these."""
    known = dict(values.items())  # they may be what is about to be cleared
    attributes.clear()
    for key, value in known.items():
        _set(attributes[key], value)


def _set(message: Any, value: AttributeValue) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, int):
        if value in _INT64:
            message.int_value = value
        else:
            message.string_value = str(value)
    elif isinstance(value, float):
        message.double_value = value
    elif isinstance(value, bytes):
        message.bytes_value = value
    elif isinstance(value, Mapping):
        message.kvlist_value.SetInParent()
        for key, item in value.items():
            pair = message.kvlist_value.values.add(key=key)
            pair.value.SetInParent()
            _set(pair.value, item)
    else:
        message.array_value.SetInParent()
        for item in value:
            _set(message.array_value.values.add(), item)
