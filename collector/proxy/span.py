"""A span as the proxy makes it, before it is written as OTLP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Attributes = dict[str, Any]


@dataclass(slots=True)
class SpanEvent:
    at_ns: int
    name: str
    attributes: Attributes


@dataclass(slots=True)
class Span:
    """Ids in hex, times of the wall clock in nanoseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    failed: bool = False
    message: str = ""
    events: list[SpanEvent] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
