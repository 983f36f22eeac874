from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mappers.assemble import assemble
from mappers.model import Event, Kind, Status
from mappers.normalize import Normalizer
from mappers.timeline import TimelineEntry, timeline
from tests.corpus import captured, scenarios
from tests.mappers.spans import captured_spans
from tests.mappers.test_assemble import RUN, event


def timeline_of(*events: Event) -> list[TimelineEntry]:
    return timeline(assemble(events).run, events)


def types(*events: Event) -> list[str]:
    return [entry.type for entry in timeline_of(*events)]


def test_a_captured_run_reads_as_what_happened() -> None:
    scenario = next(one for one in scenarios() if one.name == "openinference/langchain/handoff")
    normalizer = Normalizer()
    entries = timeline_of(*(normalizer.normalize(span) for span in captured_spans(scenario)))
    seen = [e.type for e in entries if not e.type.startswith(("workflow", "agent"))]
    assert seen == [
        "run_started",
        "llm_call_started",
        "llm_call_completed",
        "handoff_started",
        "llm_call_started",
        "llm_call_completed",
        "run_completed",
    ]
    assert [e.agent for e in entries if e.type == "llm_call_started"] == ["triage_agent", "billing_agent"]
    handoff = next(e for e in entries if e.type == "handoff_started")
    assert (handoff.handoff_from, handoff.handoff_to) == ("triage_agent", "billing_agent")


def captured_runs() -> Iterator[list[Event]]:
    normalizer = Normalizer()
    for scenario in (*scenarios(), *captured()):
        by_trace: dict[str, list[Event]] = {}
        for span in captured_spans(scenario):
            by_trace.setdefault(span.trace_id, []).append(normalizer.normalize(span))
        yield from by_trace.values()


def test_entries_have_ids_of_their_own_and_stand_in_order_and_there_are_as_many_as_are_counted() -> None:
    counted = 0
    for events in captured_runs():
        run = assemble(events).run
        entries = timeline(run, events)
        ids = [entry.event_id for entry in entries]
        assert len(set(ids)) == len(ids)
        assert [e.time_ns for e in entries] == sorted(e.time_ns for e in entries)
        seen = Counter(entry.type for entry in entries if not entry.duplicate_of)
        assert seen["tool_call_started"] == run.counts.tool_calls
        assert seen["handoff_started"] == run.counts.handoffs
        counted += run.counts.tool_calls + run.counts.handoffs
    assert counted > 100


def test_a_call_that_fails_says_why_and_an_open_one_has_only_begun() -> None:
    failed = event("b", "a", Kind.LLM, 1, status=Status.ERROR, error_type="E", error_message="m")
    running = event("c", "a", Kind.TOOL, 2, status=Status.RUNNING, end_ns=0)
    entries = timeline_of(event("a"), failed, running)
    assert [e.type for e in entries if e.span_id] == [
        "llm_call_started",
        "tool_call_started",
        "llm_call_failed",
    ]
    closing = next(e for e in entries if e.type == "llm_call_failed")
    assert (closing.event_id, closing.error_type, closing.latency_ms) == ("b.end", "E", 10 / 1e6)


def test_the_run_begins_and_ends_with_its_status() -> None:
    assert types(event("a")) == ["run_started", "run_completed"]
    assert types(event("a", status=Status.ERROR)) == ["run_started", "run_failed"]
    assert types(event("b", "a")) == ["run_started"]
    entries = timeline_of(event("a"))
    assert [e.event_id for e in entries] == [f"{RUN}.run.start", f"{RUN}.run.end"]


def test_every_retry_is_an_entry() -> None:
    model: dict[str, Any] = {"request_model": "m"}
    entries = timeline_of(
        event("r"),
        event("a", "r", Kind.LLM, 1, status=Status.ERROR, **model),
        event("b", "r", Kind.LLM, 20, attempts=3, **model),
    )
    ids = [e.event_id for e in entries if e.type == "retry_triggered"]
    assert ids == ["b.retry.1", "b.retry.2", "b.retry.3"]


def test_twins_are_there_and_say_so() -> None:
    entries = timeline_of(event("a", kind=Kind.LLM), event("b", "a", Kind.LLM, 1))
    assert {e.span_id: e.duplicate_of for e in entries if e.span_id} == {"a": "", "b": "a"}


def test_every_kind_has_its_words() -> None:
    words = {
        Kind.EMBEDDING: "embedding",
        Kind.RETRIEVER: "retrieval",
        Kind.AGENT: "agent",
        Kind.WORKFLOW: "workflow",
        Kind.GUARDRAIL: "guardrail",
    }
    for kind, word in words.items():
        seen = types(event("a"), event("b", "a", kind, 1, end_ns=5))
        assert seen[1:3] == [f"{word}_started", f"{word}_completed"]
    assert types(event("a"), event("b", "a", Kind.OTHER, 1)) == ["run_started", "run_completed"]
