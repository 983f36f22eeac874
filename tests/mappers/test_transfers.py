"""Handoffs without a span of their own, and requests that an HTTP client made again."""

from __future__ import annotations

from typing import Any

import pytest

from mappers.assemble import assemble
from mappers.model import Event, Kind, Run, Status, ToolRequest
from mappers.timeline import timeline
from tests.mappers.test_assemble import event, run_of


def handoffs(run: Run, events: list[Event]) -> list[tuple[str, str, str]]:
    return [
        (entry.handoff_from, entry.handoff_to, entry.handoff_source)
        for entry in timeline(run, events)
        if entry.type == "handoff_started"
    ]


def agents(*names: str) -> list[Event]:
    return [
        event(f"a{n}", "root", Kind.AGENT, 100 * n, end_ns=100 * n + 90, agent=name)
        for n, name in enumerate(names)
    ]


def asking(tool: str, **given: Any) -> Event:
    return event("llm", "a0", Kind.LLM, 10, tool_requests=[ToolRequest("c1", tool, 0)], **given)


def test_a_transfer_that_no_tool_carried_out_is_a_handoff_from_the_model() -> None:
    events = [event("root"), *agents("triage", "Billing Agent"), asking("handoff_to_billing_agent")]
    run = assemble(events).run
    assert (run.counts.handoffs, run.counts.tool_calls, run.counts.llm_calls) == (1, 0, 1)
    assert handoffs(run, events) == [("triage", "billing_agent", "llm_tool_request")]
    assert assemble(events).changed == []


def test_a_transfer_that_names_nobody_is_to_the_agent_that_follows() -> None:
    events = [event("root"), *agents("triage", "triage", "billing", "other"), asking("transfer_to_agent")]
    run = assemble(events).run
    assert handoffs(run, events) == [("triage", "billing", "llm_tool_request")]
    alone = [event("root"), *agents("triage", "triage"), asking("transfer_to_agent")]
    assert handoffs(assemble(alone).run, alone) == []


@pytest.mark.parametrize(
    "others",
    [
        agents("triage"),
        agents("triage", "weather"),
        [*agents("triage", "billing"), event("t", "a0", Kind.HANDOFF, 30, tool="transfer_to_billing")],
    ],
    ids=["nobody follows", "another follows", "a tool tells it"],
)
def test_a_transfer_is_not_told_from_the_request_alone(others: list[Event]) -> None:
    events = [event("root"), *others, asking("transfer_to_billing")]
    run = assemble(events).run
    assert all(source != "llm_tool_request" for _, _, source in handoffs(run, events))


def test_an_edge_to_an_agent_is_one_handoff_on_all_levels_of_the_graph() -> None:
    steps = [
        event(f"g{n}", "a0", Kind.OTHER, 50 + n, name="goto billing", operation="goto") for n in range(2)
    ]
    tools = event("g3", "a0", Kind.OTHER, 60, name="goto tools", operation="goto")
    events = [event("root"), *agents("triage", "billing"), *steps, tools]
    run = assemble(events).run
    assert handoffs(run, events) == [("triage", "billing", "graph_edge")]
    assert run.counts.handoffs == 1


def test_a_late_tool_span_takes_the_place_of_the_request() -> None:
    events = [event("root"), *agents("triage", "billing"), asking("transfer_to_billing")]
    assemble(events)
    events.append(event("t", "a0", Kind.HANDOFF, 30, tool="transfer_to_billing", handoff_source="tool_span"))
    run = assemble(events).run
    assert run.counts.handoffs == 1
    assert [source for _, _, source in handoffs(run, events)] == ["agent_sequence"]


@pytest.mark.parametrize(
    ("statuses", "retries"),
    [
        ([Status.ERROR, Status.ERROR, Status.OK], 2),
        ([Status.ERROR, Status.ERROR], 1),
        ([Status.OK], 0),
        ([Status.OK, Status.OK], 0),
    ],
)
def test_http_requests_below_one_call_are_its_attempts(statuses: list[Status], retries: int) -> None:
    sent = [
        event(f"h{n}", "llm", Kind.OTHER, n, scope="opentelemetry.instrumentation.httpx", status=status)
        for n, status in enumerate(statuses)
    ]
    run = run_of(event("llm", kind=Kind.LLM), *sent)
    assert (run.counts.llm_calls, run.counts.retries) == (1, retries)
