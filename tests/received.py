"""Requests as a pipeline has them: decoded, and as they are sent to the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from collector.otlp import parse_traces, spans_of
from collector.pipeline.sent import Received
from mappers.model import Span
from sinks.base import Sent


def received_requests(
    bodies: Sequence[bytes], owner: Callable[[int, Span], tuple[str, str]]
) -> tuple[list[Span], Sent]:
    """The spans of requests, and the same as they are sent.

    Args:
        owner: gives tenant and project of a span, by the number of its request.
    """
    spans: list[Span] = []
    requests = Received()
    for number, body in enumerate(bodies):
        request = parse_traces(body)
        found = spans_of(request)
        for span in found:
            span.tenant, span.project = owner(number, span)
        requests.add(request, found)
        spans += found
    sent = requests.take([False] * len(bodies))
    assert sent is not None
    return spans, sent
