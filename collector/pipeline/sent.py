"""Spans as they were sent, labelled: what a sink stores that reads OTLP requests by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collector.otlp import parse_traces, spans_of
from collector.otlp.messages import plain
from mappers.model import DEFAULT_PROJECT, DEFAULT_TENANT, Span
from sinks.base import Sent

FEW_SPANS = 4_000
"""The engine prepares itself for 70 ms before it reads the first request of a batch. Columns of so few spans are made
in that time."""


class Received:
    """The requests of a batch in the making.

    Serialized once more, a request says everything once and in one way, whatever its sender did: the engine then
    reads from it just what was decoded here. That costs 3 µs a span; making columns of it in Python costs 20.
    """

    def __init__(self) -> None:
        self._requests: list[tuple[Any, Sequence[Span]]] = []

    def add(self, request: Any, spans: Sequence[Span]) -> None:
        """A request and the spans that were read from it. None for a request whose spans were changed since."""
        self._requests.append((request, spans))

    def take(self, changed: Sequence[bool]) -> Sent | None:
        """All that was added, in order; nothing if it is little.

        Args:
            changed: for each request whether its spans may not be stored as they were sent.
        """
        spans = [spans for _, spans in self._requests]
        if sum(map(len, spans)) < FEW_SPANS:
            self._requests = []
            return None
        bodies = self.labelled(changed)
        return Sent(
            [body for body in bodies if body is not None],
            [span for body, each in zip(bodies, spans, strict=True) if body is None for span in each],
        )

    def labelled(self, changed: Sequence[bool]) -> list[bytes | None]:
        """Each request that was added, in order; None for one whose spans can not be told by it."""
        received, self._requests = self._requests, []
        return [
            None if request is None or is_changed else _labelled(request, spans)
            for (request, spans), is_changed in zip(received, changed, strict=True)
        ]


def read_again(requests: Sequence[bytes]) -> list[Span]:
    """The spans of labelled requests."""
    found: list[Span] = []
    for body in requests:
        request = parse_traces(body)
        spans = spans_of(request)
        first = 0
        for resource_spans in request.resource_spans:
            beyond = first + sum(len(scope_spans.spans) for scope_spans in resource_spans.scope_spans)
            for span in spans[first:beyond]:
                span.tenant, span.project = request.tenant, resource_spans.project
            first = beyond
        found += spans
    return found


def _labelled(request: Any, spans: Sequence[Span]) -> bytes | None:
    """The request with its tenant and projects; None if it can not be told in this form."""
    request.tenant = spans[0].tenant if spans else DEFAULT_TENANT
    first = 0
    for resource_spans in request.resource_spans:
        count = sum(len(scope_spans.spans) for scope_spans in resource_spans.scope_spans)
        resource_spans.project = spans[first].project if count else DEFAULT_PROJECT
        first += count
    # A field that has another form than is declared was left out here, and the engine would make something of it.
    request.DiscardUnknownFields()
    return plain(request)
