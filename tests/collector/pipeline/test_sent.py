"""Spans of a batch that waits for the store are read anew from what is sent to it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from collector.otlp import parse_traces
from collector.pipeline.sent import read_again
from collector.pipeline.undecoded import Undecoded
from mappers.model import Event, Span
from sinks.base import Sent
from tests.corpus import select
from tests.received import received_requests

BODIES = [file.read_bytes() for one in select("openinference") for file in one.traces]


def received(bodies: Sequence[bytes]) -> tuple[list[Span], Sent]:
    """Each resource's spans are of a project of its own."""
    return received_requests(
        bodies,
        lambda number, span: (
            f"tenant {number % 3}",
            f"project {number} {span.resource.attributes.get('service.name')}",
        ),
    )


@pytest.fixture(autouse=True)
def however_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.pipeline.sent.FEW_SPANS", 0)


def test_they_are_the_spans_that_were_decoded() -> None:
    spans, sent = received(BODIES)
    assert len(spans) > 20
    assert not sent.rest
    events = [Event(run_id="", span_id="", trace_id=span.trace_id, tenant=span.tenant) for span in spans]
    again = Undecoded(events, partial(read_again, sent.requests))
    assert [*again.keys] == [(span.tenant, span.trace_id) for span in spans]
    assert list(again) == spans
    assert list(again) == spans
    assert (len(again), again[3], again[2:5], again[-1]) == (len(spans), spans[3], spans[2:5], spans[-1])


def test_those_of_the_proxy_are_still_the_proxys() -> None:
    request = parse_traces(BODIES[0])
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            scope_spans.scope.name = "eddyline.proxy"
    spans, sent = received([request.SerializePartialToString()])
    assert {span.source for span in spans} == {"proxy"}
    assert read_again(sent.requests) == spans
