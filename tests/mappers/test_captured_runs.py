"""Every captured payload of these conventions comes to the runs that its provider saw."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from mappers.assemble import settle
from mappers.model import Event, Kind, Run
from mappers.normalize import Normalizer
from tests.corpus import Scenario, captured, scenarios, select
from tests.mappers.spans import captured_runs, captured_spans

MAPPED = (
    "openinference/",
    "traceloop/",
    "gen_ai/",
    "openlit/",
    "mixed/",
    "langfuse/",
    "litellm/",
    "vercel_ai/",
)

CORRECTED: dict[str, dict[str, Any]] = {
    # The failed call names no model at all; the reference mapper wrote Python's None as text.
    "openinference/openai-agents/err429": {"models": []},
    # The outer span of the twins lacks what the inner one reports, which is what the provider sent.
    "openinference/llama-index/rag": {
        "tokens": {"input": 120, "output": 22, "cache_read": 64, "reasoning": 8},
    },
    "mixed/oi-plus-traceloop-openai/stream": {
        "tokens": {"input": 100, "output": 20, "cache_read": 64, "reasoning": 8},
    },
    # The span reports 14 tokens, and so does the provider's log; the reference mapper did not read them.
    "vercel_ai/ai-sdk-v7/embed": {"embedding_tokens": 14},
    # Two agents of one trace have a conversation id each; a run has one session, its root's.
    "gen_ai/pydantic-ai-v5/handoff": {"sessions": ["01a1fc2c-6db8-703d-b6ee-fdd1d5dcd9f2"]},
}
"""Expectations that are wrong, with the reason."""


SCENARIOS = [*select(*MAPPED), *captured()]


def _outcome(runs: list[Run], events: list[Event]) -> dict[str, Any]:
    counted = [event for event in events if not event.duplicate_of]
    tools = [event for event in counted if event.kind in (Kind.TOOL, Kind.HANDOFF)]
    sums = {
        name: sum(values)
        for name in ("input", "output", "cache_read", "cache_write", "reasoning")
        if (values := [n for run in runs if (n := getattr(run.usage, name)) is not None])
    }
    embedding = [run.usage.embedding for run in runs if run.usage.embedding is not None]
    return {
        "runs": sorted(
            (
                run.name,
                settle(run, run.end_ns + 10**12),
                run.counts.spans,
                run.setup_only,
                bool(run.duplicate_of),
            )
            for run in runs
        ),
        "llm_calls": sum(run.counts.llm_calls for run in runs),
        "llm_errors": sum(run.counts.llm_errors for run in runs),
        "embedding_calls": sum(run.counts.embeddings for run in runs),
        "tool_calls": sum(run.counts.tool_calls for run in runs),
        "tool_errors": sum(run.counts.tool_errors for run in runs),
        # A handoff that a span's name tells is no tool.
        "tool_names": dict(Counter(e.tool for e in tools if not e.name.startswith("handoff to "))),
        "handoffs": sorted((e.handoff_from, e.handoff_to) for e in counted if e.kind == Kind.HANDOFF),
        "retries": sum(run.counts.retries for run in runs),
        "models": sorted({model for run in runs for model in run.models}),
        "tokens": sums,
        "embedding_tokens": sum(embedding) if embedding else None,
        "sessions": sorted({run.session_id for run in runs} - {""}),
        "users": sorted({run.user_id for run in runs} - {""}),
    }


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_captured_scenario_comes_to_what_the_provider_saw(scenario: Scenario) -> None:
    outcome = _outcome(*captured_runs(scenario))

    expected = scenario.expect | CORRECTED.get(scenario.name, {})
    expected["runs"] = sorted(
        (
            run["name"],
            run["status"],
            run["spans"],
            run.get("setup_only", False),
            bool(run.get("duplicate_of_other_trace")),
        )
        for run in expected["runs"]
    )
    expected["handoffs"] = sorted((before or "", after) for before, after in expected["handoffs"])
    expected["models"] = sorted(expected["models"])
    expected["tokens"] = {name: n for name, n in expected["tokens"].items() if name != "total"}
    assert outcome == {name: expected[name] for name in outcome}


def test_every_captured_span_gives_an_event_without_a_fault() -> None:
    normalizer = Normalizer()
    for scenario in (*scenarios(), *captured()):
        for span in captured_spans(scenario):
            assert normalizer.normalize(span).span_id == span.span_id
    assert not normalizer.faults
