"""What the prefilter lets pass: everything in which something could be found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.assemble import assemble
from mappers.loops.configure import configured
from mappers.loops.detectors import BUILTIN, LOOP, WASTE, Hit
from mappers.loops.evaluator import Engine, Evaluator
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind
from mappers.loops.thread import Happening, Steps, happenings
from mappers.model import Event, Span, StatusCode
from mappers.normalize import Normalizer
from tests.corpus import captured, scenarios
from tests.mappers.loops.scenarios import LOOPS, WORK, Script
from tests.mappers.loops.telling import TELLINGS, Telling
from tests.mappers.spans import captured_spans, span_of

SECOND = 10**9
NORMALIZER = Normalizer()


def events_of(spans: Sequence[Span]) -> list[Event]:
    events = [NORMALIZER.normalize(span) for span in spans]
    assemble(events)
    return events


def outlined(found: Sequence[Happening], engine: Engine, *, across: bool = False) -> bool:
    outline = Outline(engine.novelty, across=across)
    for happening in found:
        outline.add(happening)
    return engine.possible(outline, across=across)


def possible(found: Sequence[Happening], engine: Engine, *, across: bool = False) -> set[str]:
    """Names of the detectors that could hold."""
    outline = Outline(engine.novelty, across=across)
    for happening in found:
        outline.add(happening)
    detectors = {detector.name: detector for looking in engine.looking.values() for detector in looking}
    return {name for name, detector in detectors.items() if detector.possible(outline)}


def evaluated(found: Sequence[Happening], engine: Engine, *, across: bool = False) -> set[str]:
    """Names of the detectors that find something, all texts read."""
    evaluator, steps = Evaluator(engine, across=across), Steps(across=across)
    for happening in found:
        evaluator.feed_all(steps.of(happening))
    return {finding.detector.name for finding in evaluator.findings.values()}


@dataclass
class Spans(Script):
    """The same agents, told in spans."""

    spans: list[Span] = field(default_factory=list)
    telling: Telling = TELLINGS["gen_ai"]

    def tool(
        self,
        name: str,
        arguments: Any,
        result: str | None,
        error: str | None = None,
        *,
        takes: float = 0.5,
        beside: bool = False,
    ) -> Script:
        super().tool(name, arguments, result, error, takes=takes, beside=beside)
        self._tell(self.telling.tool(name, arguments, result), error)
        return self

    def says(self, text: str, agent: str = "worker", told: str = "", tokens: int | None = 50) -> Script:
        super().says(text, agent, told, tokens)
        self._tell(self.telling.says(text, told))
        return self

    def hands_to(self, agent: str, instruction: str) -> Script:
        super().hands_to(agent, instruction)
        task = {"task": instruction} if instruction else None
        self._tell(self.telling.tool(f"transfer_to_{agent}", task, None))
        return self

    def _tell(self, attributes: Mapping[str, Any], error: str | None = None) -> None:
        step = self.steps[-1]
        self.spans.append(
            span_of(
                dict(attributes),
                span_id=step.id,
                parent_span_id="f" * 16,
                start_ns=step.start_ns,
                end_ns=step.end_ns,
                status_code=StatusCode.UNSET if error is None else StatusCode.ERROR,
                status_message=error or "",
            )
        )


@pytest.mark.parametrize("telling", TELLINGS)
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_that_is_told_in_spans_is_possible_and_found(name: str, telling: str) -> None:
    detector, build = LOOPS[name]
    script = Spans(telling=TELLINGS[telling])
    build(script)
    found = happenings(events_of(script.spans))
    assert outlined(found, Engine())
    assert detector in evaluated(found, Engine())


@pytest.mark.parametrize("telling", TELLINGS)
@pytest.mark.parametrize("name", WORK)
def test_work_that_is_told_in_spans_is_no_loop(name: str, telling: str) -> None:
    script = Spans(telling=TELLINGS[telling])
    WORK[name](script)
    names = evaluated(happenings(events_of(script.spans)), Engine())
    assert not names & {detector.name for detector in BUILTIN if detector.category == LOOP}


QUICKLY_SEEN = (
    "looking_up_different_things",
    "parallel_fan_out",
    "many_calls_without_content",
)


@pytest.mark.parametrize("name", QUICKLY_SEEN)
def test_work_that_can_be_seen_to_be_work_is_not_looked_at(name: str) -> None:
    script = Spans()
    WORK[name](script)
    assert not outlined(happenings(events_of(script.spans))[:11], Engine())


def test_nothing_is_found_in_captured_runs_that_are_not_looked_at() -> None:
    engine = Engine()
    looked = passed = 0
    for scenario in [*scenarios(), *captured()]:
        runs: dict[str, list[Span]] = {}
        for span in captured_spans(scenario):
            runs.setdefault(span.trace_id, []).append(span)
        for spans in runs.values():
            found = happenings(events_of(spans))
            if outlined(found, engine):
                looked += 1
            else:
                passed += 1
                assert evaluated(found, engine) == set(), scenario.name
    assert looked
    assert passed > looked


# --------------------------------------------------------------------------- threads of all kinds

TOOLS = ("search", "get_status", "edit")
ARGUMENTS = (
    None,
    "",
    "{}",
    '{"q": "the lantern of the harbour was lit"}',
    '{"q": "the lantern of the harbour was lit again"}',
    '{"q": "the lantern of the harbour is lit", "page": 1}',
    '{"q": "the lantern of the harbour is lit", "page": 2}',
    '{"q": "copper", "id": "00000001-0000-4000-8000-000000000002"}',
    '{"q": "copper", "id": "00000003-0000-4000-8000-000000000004"}',
    '{"at": "2026-01-01T10:00:00Z"}',
    "__REDACTED__",
)
RESULTS = (
    None,
    "",
    "OK, updated",
    "No results found",
    "Error: no such table: ship",
    "Error: no such table: boat",
    "429 Too Many Requests",
    "alpha, beta, gamma. delta, epsilon, zeta. " * 6,
    "one\ntwo and more\nthree and more\nfour and more\nfive and more",
    "one\ntwo and more\nthree and more\nfour and more\nsix and more",
    "took 35 ms, all is as it was before in the harbour of the north and the lantern",
    "took 47 ms, all is as it was before in the harbour of the north and the lantern",
    "__REDACTED__",
)
OUTPUTS = (
    "",
    "yes",
    "I am sorry for the confusion, let me try to do that again as you asked me to",
    "I am sorry for the confusion, let me try to do this again as you asked me to",
    "The harbour was built by two brothers from the north in the year 1821",
)
AGENTS = ("worker", "writer")


def tool_span(tool: str, arguments: str | None, result: str | None) -> dict[str, Any]:
    told = {"gen_ai.tool.call.arguments": arguments, "gen_ai.tool.call.result": result}
    named = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
    return named | {key: value for key, value in told.items() if value is not None}


def call_span(
    text: str, told: str, requests: Sequence[tuple[str, str | None]], tokens: int | None
) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "content": text}]
    parts += [{"type": "tool_call", "name": tool, "arguments": arguments} for tool, arguments in requests]
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": parts}]),
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": told}]}]),
    }
    return attributes | ({} if tokens is None else {"gen_ai.usage.input_tokens": tokens})


executions = st.builds(
    tool_span, st.sampled_from(TOOLS), st.sampled_from(ARGUMENTS), st.sampled_from(RESULTS)
)
handoffs = st.builds(
    tool_span,
    st.sampled_from([f"transfer_to_{agent}" for agent in AGENTS]),
    st.sampled_from(ARGUMENTS),
    st.none(),
)
answers = st.builds(
    call_span,
    st.sampled_from(OUTPUTS),
    st.sampled_from(["", "go on", "No results found"]),
    st.just([]),
    st.sampled_from([None, 100, 60_000]),
)
asking = st.builds(
    call_span,
    st.just(""),
    st.sampled_from([result for result in RESULTS if result is not None]),
    st.lists(st.tuples(st.sampled_from(TOOLS), st.sampled_from(ARGUMENTS)), min_size=1, max_size=2),
    st.just(None),
)
retrievals = st.builds(
    lambda query, answer: {
        "openinference.span.kind": "RETRIEVER",
        "input.value": query or "",
        "output.value": answer or "",
    },
    st.sampled_from(ARGUMENTS),
    st.sampled_from(RESULTS),
)
moments = st.tuples(
    st.one_of(executions, executions, executions, handoffs, answers, asking, retrievals),
    st.sampled_from(AGENTS),
    st.sampled_from([0, 0.1, 1, 1, 1, 20]),  # seconds since the one before
    st.sampled_from([0, 0.05, 0.5, 2, 70, 130]),  # seconds that it takes
    st.sampled_from(["", "", "", "Error: no such table: ship", "503 Service Unavailable"]),
)
repeating = st.lists(moments, min_size=1, max_size=4).flatmap(
    lambda some: st.lists(st.sampled_from(some), min_size=1, max_size=24)
)
"""Few different things, many times: what loops are made of."""
PAGE = [f"line {letter * 4} of the page" for letter in "abcdefghijkl"]
variations = st.builds(
    tool_span,
    st.just("search"),
    st.integers(0, 5).map(
        lambda n: json.dumps({"q": "the lantern of the harbour was lit by the brothers " + "xyzwvu"[n]})
    ),
    st.integers(0, 3).map(lambda n: "\n".join([*PAGE, f"and what is new is {'pqrs'[n] * 5}"])),
)
varying = st.lists(
    st.tuples(variations, st.just("worker"), st.just(1), st.just(0.5), st.just("")), min_size=1, max_size=8
)
"""Nearly the same call, nearly the same answer."""
runs = st.one_of(varying, st.lists(moments, min_size=1, max_size=12), repeating, repeating)
engines = st.sampled_from(
    [
        Engine(),
        configured({"exact_repeat": {"chain": 2}, "cycle": {"rounds": 2}, "near_repeat": {"chain": 2}}),
        configured(
            {
                "exact_repeat": {"trickle": 2},
                "handoff_loop": {"chain": 2},
                "no_progress": {"window": 4, "idle": 3},
            }
        ),
        configured(
            {"repeated_output": {"chain": 2}, "retry_storm": {"failures": 2}, "slow_step": {"tool_s": 1}}
        ),
        configured({"budgets": {"steps": 5, "tokens": 500}, "context_growth": {"calls": 2, "factor": 1}}),
        configured({"empty_results": {"chain": 2}, "same_error": {"total": 2}, "same_result": {"total": 2}}),
    ]
)


def spans_of(run: Sequence[Any], trace: int = 1) -> list[Span]:
    spans, time = [], 1.0
    for number, (attributes, agent, pause, takes, error) in enumerate(run):
        time += pause
        spans.append(
            span_of(
                attributes | {"gen_ai.agent.name": agent},
                trace_id=f"{trace:032x}",
                span_id=f"{number + 1:016x}",
                parent_span_id="f" * 16,
                start_ns=int((trace * 1000 + time) * SECOND),
                end_ns=int((trace * 1000 + time + takes) * SECOND) + 1,
                status_code=StatusCode.ERROR if error else StatusCode.UNSET,
                status_message=error,
            )
        )
    return spans


def forget(found: Sequence[Happening], which: Sequence[bool]) -> None:
    for happening, gone in zip(found, which, strict=False):
        if gone:
            happening.given = happening.answered = ""


@settings(max_examples=250, deadline=None)
@given(runs, engines, st.lists(st.booleans(), max_size=24))
def test_what_is_not_looked_at_would_have_shown_nothing(
    run: Sequence[Any], engine: Engine, gone: Sequence[bool]
) -> None:
    events = events_of(spans_of(run))
    found = happenings(events)
    slim = happenings(events)
    forget(slim, gone)
    names = evaluated(found, engine)
    assert names <= possible(found, engine)
    assert names <= possible(slim, engine)


@settings(max_examples=100, deadline=None)
@given(st.lists(runs, min_size=2, max_size=4), engines)
def test_what_is_not_looked_at_of_a_session_would_have_shown_nothing(
    session: Sequence[Sequence[Any]], engine: Engine
) -> None:
    found = [
        happening
        for number, run in enumerate(session)
        for happening in happenings(events_of(spans_of(run, number + 1)))
    ]
    assert evaluated(found, engine, across=True) <= possible(found, engine, across=True)


class Plain:
    """A detector of others that says nothing of what it needs."""

    name = "plain"
    category = WASTE
    kinds = frozenset(StepKind)
    suggestion = ""

    def look(self, step: Step, recent: Recent) -> Hit | None:
        return Hit("", 1)

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return ""


def test_a_detector_that_does_not_say_what_it_needs_sees_everything() -> None:
    engine = configured({}, (), [Plain()])  # type: ignore[list-item]  # a plugin that lacks a part
    assert outlined([], engine)
