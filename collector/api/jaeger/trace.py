"""A run as a trace: its spans as received, with what was understood of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collector.understanding.mapping import stored_span
from mappers.model import Event, Run, SpanEvent, Status, StatusCode, Warning
from mappers.semconv import CONTENT, gen_ai_attributes

INTERNAL = 1
"""OTLP's kind of a span that is no call to another process."""
MOST_SPANS = 20_000
"""Of one trace."""


@dataclass(slots=True)
class TraceSpan:
    """One span. Times in ns; `kind` and `status` are OTLP's numbers."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    start_ns: int
    duration_ns: int
    service: str
    attributes: dict[str, Any]
    resource: Mapping[str, Any] = field(default_factory=dict)
    scope: str = ""
    scope_version: str = ""
    status: int = StatusCode.UNSET
    status_message: str = ""
    events: Sequence[SpanEvent] = ()
    links: Sequence[tuple[str, str]] = ()
    """(trace id, span id)"""
    trace_state: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Trace:
    trace_id: str
    spans: list[TraceSpan]
    warnings: list[str]


def trace_of(
    run: Run,
    rows: Sequence[dict[str, Any]],
    events: Sequence[Event],
    warnings: Sequence[Warning],
    *,
    content: bool,
) -> Trace:
    """The trace of a run.

    What a log record told of a call is a span, too. Without `content` there are no attributes but those that we made.

    Args:
        rows: its spans, as `Reader.spans` gives them.
    """
    told = {event.span_id: event for event in events if event.seq == 0 and not event.part}
    spans = [_received(row, told.pop(row["span_id"], None), content=content) for row in rows[:MOST_SPANS]]
    if len(rows) < MOST_SPANS:
        spans += [_told(event, content=content) for event in told.values() if event.source == "log"]
    said = []
    if len(rows) > MOST_SPANS:
        said.append(f"{len(rows) - MOST_SPANS} more spans are left out")
    by_id = {span.span_id: span for span in spans}
    for warning in warnings:
        if warning.state == "retracted":
            continue
        text = f"{warning.type} ({warning.severity}): {warning.message}"
        said.append(text)
        for span_id in dict.fromkeys(event_id.partition(".")[0] for event_id in warning.evidence):
            if span_id in by_id:
                by_id[span_id].warnings.append(text)
    return Trace(run.run_id, spans, said)


def _received(row: dict[str, Any], event: Event | None, *, content: bool) -> TraceSpan:
    span = stored_span(row)
    attributes = gen_ai_attributes(event, content=content) if event is not None else {}
    if content:
        # Of content the event keeps a preview: what the span itself has in these words is whole.
        whole = {name: span.attributes[name] for name in CONTENT if name in span.attributes}
        attributes = {**span.attributes, **attributes, **whole}
    return TraceSpan(
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.name,
        span.kind or INTERNAL,
        span.start_ns,
        span.end_ns - span.start_ns,
        row["service"],
        attributes,
        span.resource.attributes if content else {},
        span.scope.name,
        span.scope.version,
        span.status_code,
        span.status_message if content else "",
        span.events if content else (),
        list(zip(row["link_trace_ids"], row["link_span_ids"], strict=True)),
        span.trace_state,
    )


def _told(event: Event, *, content: bool) -> TraceSpan:
    failed = event.status == Status.ERROR
    return TraceSpan(
        event.run_id,
        event.span_id,
        event.parent_span_id,
        event.name,
        INTERNAL,
        event.start_ns,
        max(0, event.end_ns - event.start_ns),
        event.service,
        gen_ai_attributes(event, content=content),
        scope=event.scope,
        status=StatusCode.ERROR if failed else StatusCode.UNSET,
        status_message=event.error_message if failed and content else "",
    )
