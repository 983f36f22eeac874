"""The views for dashboards: sums over them are the sums of the runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mappers.model import Event, Kind, Status
from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink, Store
from tests.sinks.test_clickhouse import START, full_event, span

RUN = "d" * 32


@pytest.fixture
def stored(store: Store) -> Store:
    sink = ClickHouseSink(store)
    call = full_event(RUN, part="", duplicate_of="", handoff_source="", status=Status.OK)
    events: list[Event] = [
        call,
        replace(call, span_id="twin", duplicate_of=call.span_id),
        replace(call, span_id="part", part="input"),
        replace(call, span_id="tool", kind=Kind.TOOL, tool="search"),
        replace(call, span_id="handoff", kind=Kind.TOOL, handoff_source="tool_span"),
        replace(
            call, span_id="late", kind=Kind.LLM, response_model="", request_model="asked", status=Status.ERROR
        ),
    ]
    for _ in range(2):  # as when a batch is sent again
        sink.write(Batch(spans=[span(RUN)], events=events))
    return store


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.query(query, {"run": RUN})]


def test_calls_count_once_and_twins_not_at_all(stored: Store) -> None:
    found = rows(
        stored,
        "SELECT SpanId, Model, Status, InputTokens FROM otel.llm_calls_current"
        " WHERE RunId = {run:String} ORDER BY SpanId",
    )
    call = full_event(RUN, 1)
    assert found == [
        (call.span_id, call.response_model, "ok", call.input_tokens),
        ("late", "asked", "error", call.input_tokens),
    ]


def test_tool_calls_are_without_handoffs(stored: Store) -> None:
    query = "SELECT SpanId, Tool, Time FROM otel.tool_calls_current WHERE RunId = {run:String}"
    ((span_id, tool, time),) = rows(stored, query)
    assert (span_id, tool, round(time.timestamp())) == ("tool", "search", START // 10**9)


def test_a_span_that_was_sent_again_is_there_once(stored: Store) -> None:
    query = "SELECT count(), any(SpanName) FROM otel.spans_current WHERE TraceId = {run:String}"
    assert rows(stored, query)[0][0] == 1
