"""Spans and log records: what is in an item of a JSON request, written into the message that is stored."""

from __future__ import annotations

from typing import Any

from collector.otlp.json.attributes import fill_attributes, fill_value
from collector.otlp.json.fields import (
    Document,
    ItemError,
    as_object,
    camel,
    enum,
    field,
    hex_id,
    integer,
    list_of,
    text,
)
from collector.otlp.limits import Limits

_SPAN_KINDS = {
    f"SPAN_KIND_{name}": number
    for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
_STATUS_CODES = {f"STATUS_CODE_{name}": number for number, name in enumerate(("UNSET", "OK", "ERROR"))}


def fill_span(span: Document, message: Any, limits: Limits) -> None:
    """Writes a span, its events and links.

    Raises:
        ItemError, ValueError, TypeError: it can not be read.
    """
    get = span.get
    message.trace_id = hex_id(get("traceId") or get("trace_id"), 16)
    message.span_id = hex_id(get("spanId") or get("span_id"), 8)
    message.parent_span_id = hex_id(get("parentSpanId") or get("parent_span_id"), 8)
    message.name = get("name") or ""
    message.kind = enum(get("kind"), _SPAN_KINDS)
    message.start_time_unix_nano = integer(get("startTimeUnixNano") or get("start_time_unix_nano"))
    message.end_time_unix_nano = integer(get("endTimeUnixNano") or get("end_time_unix_nano"))
    message.trace_state = get("traceState") or get("trace_state") or ""
    message.flags = integer(get("flags"))
    for name in ("dropped_attributes_count", "dropped_events_count", "dropped_links_count"):
        if dropped := get(camel(name)) or get(name):
            setattr(message, name, integer(dropped))
    message.dropped_attributes_count += fill_attributes(span, message.attributes, limits)
    if status := get("status"):
        message.status.message = text(status, "message")
        message.status.code = enum(as_object(status).get("code"), _STATUS_CODES)
    events, links = list_of(span, "events", ItemError), list_of(span, "links", ItemError)
    message.dropped_events_count += max(0, len(events) - limits.events)
    message.dropped_links_count += max(0, len(links) - limits.links)
    for event in events[: limits.events]:
        event_message = message.events.add()
        event_message.time_unix_nano = integer(field(event, "timeUnixNano"))
        event_message.name = text(event, "name")
        fill_attributes(event, event_message.attributes, limits)
    for link in links[: limits.links]:
        link_message = message.links.add()
        link_message.trace_id = hex_id(field(link, "traceId"), 16)
        link_message.span_id = hex_id(field(link, "spanId"), 8)
        link_message.trace_state = text(link, "traceState")
        link_message.flags = integer(field(link, "flags"))
        fill_attributes(link, link_message.attributes, limits)


def fill_log_record(record: Document, message: Any, limits: Limits) -> None:
    """Writes a log record. A severity that is a name counts as none: its text says it.

    Raises:
        ItemError, ValueError, TypeError: it can not be read.
    """
    message.time_unix_nano = integer(field(record, "timeUnixNano"))
    message.observed_time_unix_nano = integer(field(record, "observedTimeUnixNano"))
    message.trace_id = hex_id(field(record, "traceId"), 16)
    message.span_id = hex_id(field(record, "spanId"), 8)
    severity = field(record, "severityNumber")
    message.severity_number = integer(severity) if not isinstance(severity, str) or severity.isdigit() else 0
    message.severity_text = text(record, "severityText")
    message.event_name = text(record, "eventName")
    message.flags = integer(field(record, "flags"))
    message.dropped_attributes_count = integer(field(record, "droppedAttributesCount"))
    body = record.get("body")
    if body is not None:
        fill_value(body, message.body, limits.value_depth)
    message.dropped_attributes_count += fill_attributes(record, message.attributes, limits)


def has_too_many(item: Document, limits: Limits) -> bool:
    """Whether the item itself has more parts than are kept."""
    return any(
        len(item.get(name) or ()) > limit
        for name, limit in (
            ("attributes", limits.attributes),
            ("events", limits.events),
            ("links", limits.links),
        )
    )
