"""A run's rows depend on what arrived, and on nothing of how it arrived."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.deriver.deriver import Deriver
from collector.deriver.pace import Pace
from mappers.model import PROXY_SCOPE, Event, Kind, LogRecord, Span, Status, ToolRequest
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from tests.collector.deriver.test_deriver import Stored
from tests.collector.stored import copied
from tests.corpus import Scenario, captured, scenarios, select
from tests.mappers.spans import captured_logs, captured_spans

CAPTURED = {
    "codex/cli/tools",
    "langtrace/anthropic/tools",
    "traceloop/mistral/err429",
    "voltagent/js/handoff",
}
SCENARIOS = [
    *(scenario for scenario in captured() if scenario.name in CAPTURED),
    *select(
        "traceloop/anthropic/tools",
        "traceloop/anthropic/err429",
        "traceloop/langchain/handoff",
        "openinference/anthropic/stream",
        "openinference/langchain/handoff",
        "gen_ai/openai-v2-events/tools",
        "gen_ai/genai-openai-event/tools",
    ),
]


class Rows(Stored):
    """What is stored of runs, and of events that a later batch settled anew."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, Any] = {}

    def take(self, deriver: Deriver, events: list[Event], number: int, *, pressed: bool = False) -> None:
        derived = deriver.derive(events, batch=number, stored=number - 1, pressed=pressed)
        for settled in derived.resettled:
            row = self.events[settled.run_id, settled.span_id, settled.seq]
            for name in {
                "duplicate_of",
                "handoff_from",
                "handoff_to",
                "handoff_source",
                "handoff_told",
                "filled",
            } | {
                *row.filled,
                *settled.filled,
            }:
                setattr(row, name, getattr(settled, name))
        for event in derived.events:
            self.events[event.run_id, event.span_id, event.seq] = copied(event)
        self.runs |= {run.run_id: run for run in derived.runs}
        self.rows |= self.runs.keys()
        self.spans = getattr(self, "spans", 0) + derived.new_spans
        self.counted = getattr(self, "counted", 0) + derived.new_events

    def state(self) -> Any:
        return self.events, self.runs, self.spans, self.counted


class Clock:
    """Whatever is done takes a tenth of a second."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.1
        return self.now_s


@cache
def events_of(scenario: Scenario) -> list[Event]:
    normalizer = Normalizer()
    reader = RecordReader(normalizer)
    items: list[Span | LogRecord] = [*captured_spans(scenario), *captured_logs(scenario)]
    found = (normalizer.normalize(item) if isinstance(item, Span) else reader.event(item) for item in items)
    return [event for event in found if event is not None]


def arriving(events: Iterable[Event]) -> list[Event]:
    """As they were mapped, each time anew: who derives runs settles more of them."""
    return [copied(event) for event in events]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_T17_T18_any_order_repetition_batching_and_restart_give_the_same_rows(
    scenario: Scenario, data: st.DataObject
) -> None:
    events = events_of(scenario)
    at_once = Rows()
    at_once.take(Deriver(at_once, max_events=10_000), arriving(events), 1)

    clock = Clock()
    pace = data.draw(st.sampled_from([None, Pace(clock)]))
    order = data.draw(st.permutations(range(len(events))))
    again = data.draw(st.lists(st.sampled_from(order), max_size=5))
    rows, number = Rows(), 0
    left = [*order, *again]
    deriver = Deriver(rows, max_events=10_000, pace=pace)
    while left:
        size = data.draw(st.integers(1, len(left)))
        if data.draw(st.booleans()):  # the process ends, or all that was known leaves the memory
            rows_tell = data.draw(st.booleans()) and not any(event.part for event in rows.events.values())
            most = data.draw(st.sampled_from([0, 10_000]))
            deriver, number = Deriver(rows, max_events=most, pace=pace, rows_tell=rows_tell), 0
            deriver.owe({("", run_id) for run_id, _, _ in rows.events})
        number += 1
        pressed = data.draw(st.booleans())
        rows.take(deriver, arriving(events[place] for place in left[:size]), number, pressed=pressed)
        left = left[size:]
        clock.now_s += data.draw(st.sampled_from([0.0, 10.0]))
    deriver.hurry()
    rows.take(deriver, [], number + 1)
    assert rows.state() == at_once.state()


@pytest.mark.parametrize("part", range(4))
def test_all_that_was_captured_comes_to_the_same_rows_however_it_is_split(part: int) -> None:
    for scenario in [*scenarios(), *captured()][part::4]:
        events = events_of(scenario)
        at_once, rows, number = Rows(), Rows(), 0
        at_once.take(Deriver(at_once, max_events=10_000), arriving(events), 1)
        chance = random.Random(scenario.name)
        places = list(range(len(events)))
        places += chance.sample(places, len(places) // 4)
        chance.shuffle(places)
        deriver = Deriver(rows, max_events=10_000)
        while places:
            size, number = chance.randint(1, 8), number + 1
            rows.take(deriver, arriving(events[place] for place in places[:size]), number)
            places = places[size:]
        assert rows.state() == at_once.state(), scenario.name


def call(run: int, span: int, start_ms: int, end_ms: int, **fields: Any) -> Event:
    usual: dict[str, Any] = {"kind": Kind.LLM, "instance": "one", "scope": "openai", "is_root": True}
    return Event(
        run_id=f"{run:032x}",
        trace_id=f"{run:032x}",
        span_id=f"{span:016x}",
        start_ns=start_ms * 1_000_000,
        end_ns=end_ms * 1_000_000,
        **usual | fields,
    )


def settled(*events: Event) -> dict[str, Any]:
    rows = Rows()
    rows.take(Deriver(rows, max_events=100), list(events), 1)
    return {run.run_id[-1]: (run.counts.llm_calls, run.duplicate_of[-1:]) for run in rows.runs.values()}


def test_one_response_in_two_traces_is_one_call() -> None:
    framework = call(1, 1, 10, 90, scope="langchain", response_id="r1", is_root=False, parent_span_id="9")
    client = call(2, 2, 20, 80, response_id="r1", input_tokens=7, output_tokens=1)
    assert settled(framework, client) == {"1": (1, ""), "2": (0, "1")}


def test_what_only_the_lesser_span_knows_is_counted() -> None:
    rows = Rows()
    outer = call(1, 1, 10, 90, scope="langchain", response_id="r1")
    inner = call(2, 2, 20, 80, response_id="r1", input_tokens=7, output_tokens=1, usage_source="reported")
    deriver = Deriver(rows, max_events=100)
    rows.take(deriver, [outer], 1)
    rows.take(deriver, [inner], 2)
    assert rows.runs[outer.run_id].usage.total == 8
    assert rows.runs[inner.run_id].usage.total is None
    assert rows.events[outer.run_id, outer.span_id, 0].input_tokens == 7
    assert rows.events[inner.run_id, inner.span_id, 0].duplicate_of == outer.span_id


@pytest.mark.parametrize(
    "other",
    [
        call(2, 2, 20, 80, response_id="r2"),
        call(2, 2, 100, 120, response_id="r1"),
        call(2, 2, 20, 80, response_id="r1", project="other"),
        call(2, 2, 20, 80, response_id="r1", scope="langchain"),
        call(2, 2, 20, 80, instance="two"),
        call(2, 2, 20, 95),
        call(2, 2, 20, 80, request_model="claude"),
        call(2, 2, 20, 80, status=Status.ERROR),
    ],
    ids=[
        "other id",
        "later",
        "other project",
        "same scope",
        "other process",
        "not within",
        "model",
        "outcome",
    ],
)
def test_calls_that_only_look_alike_are_two(other: Event) -> None:
    one = call(1, 1, 10, 90, scope="langchain", response_id="r1", request_model="gpt-4o")
    assert settled(one, other) == {"1": (1, ""), "2": (1, "")}


def test_a_span_that_tells_no_answer_may_have_failed() -> None:
    silent = call(1, 1, 20, 80, scope="mistral", is_root=True)
    failed = call(2, 2, 10, 90, status=Status.ERROR)
    assert settled(silent, failed) == {"1": (0, "2"), "2": (1, "")}
    answered = call(1, 1, 20, 80, scope="mistral", output_tokens=3)
    assert settled(answered, failed) == {"1": (1, ""), "2": (1, "")}


def test_calls_of_which_one_leaves_the_cache_out_are_one() -> None:
    whole = call(1, 1, 20, 80, scope="sdk", input_tokens=180, cache_read_tokens=50, cache_write_tokens=30)
    without = call(2, 2, 10, 90, input_tokens=100)
    assert settled(whole, without) == {"1": (0, "2"), "2": (1, "")}


def test_calls_without_an_id_are_joined_within_a_process() -> None:
    outer = [call(n, n, 10 + n, 90 + n, scope="langchain") for n in (1, 2)]
    inner = [call(n + 2, n + 2, 12 + n, 88 + n) for n in (1, 2)]
    assert settled(*outer, *inner) == {"1": (1, ""), "2": (1, ""), "3": (0, "1"), "4": (0, "2")}


UNKNOWN = {"instance": "", "service": "app"}


@pytest.mark.parametrize(
    "shared",
    [
        {"result_hash": 5},
        {"tool_requests": (ToolRequest("", "weather", 3),)},
        {"input_tokens": 100, "output_tokens": 20, "usage_source": "reported"},
        {"args_hash": 9},
        {"status": Status.ERROR, "error_message": "bad request"},
    ],
    ids=["answer", "tools asked for", "counts", "question", "failure"],
)
def test_calls_of_a_process_that_does_not_say_which_it_is_are_one_if_they_are_alike(
    shared: dict[str, Any],
) -> None:
    outer = call(1, 1, 12, 90, scope="langchain", is_root=False, parent_span_id="9", **UNKNOWN, **shared)
    inner = call(2, 2, 10, 88, **UNKNOWN, **shared)
    assert settled(outer, inner) == {"1": (1, ""), "2": (0, "1")}
    assert settled(inner, outer) == {"1": (1, ""), "2": (0, "1")}


@pytest.mark.parametrize(
    "other",
    [
        {"result_hash": 6},
        {"service": "other"},
        {"instance": "two"},
        {"start_ms": 60, "end_ms": 150},
        {"scope": "langchain"},
        {"request_model": "claude"},
        {"input_tokens": 101, "output_tokens": 20},
        {"project": "other"},
    ],
    ids=["answer", "service", "process", "time", "one instrumentation", "model", "counts", "project"],
)
def test_calls_that_are_not_alike_in_all_that_is_known_are_two(other: dict[str, Any]) -> None:
    known = {"service": "app", "result_hash": 5, "input_tokens": 100, "request_model": "gpt-4o"}
    outer = call(1, 1, 10, 90, scope="langchain", **known | {"instance": "one"})
    times = {"start_ms": 10, "end_ms": 88}
    inner = call(2, 2, **times | {"instance": ""} | known | other)
    assert settled(outer, inner) == {"1": (1, ""), "2": (1, "")}


@pytest.mark.parametrize("instance", ["", "one"])
def test_of_calls_that_are_all_alike_each_is_joined_to_one(instance: str) -> None:
    same = {"instance": instance, "service": "app", "result_hash": 5}
    outer = [call(n, n, 10 + n, 90 + n, scope="langchain", **same) for n in (1, 2, 3)]
    inner = [call(n + 3, n + 3, 9 + n, 91 + n, **same) for n in (1, 2, 3)]
    assert sum(calls for calls, _ in settled(*outer, *inner).values()) == 3
    assert sum(calls for calls, _ in settled(*outer, *inner, call(7, 7, 9, 91, **same)).values()) == 4


def test_the_proxy_tells_of_a_call_of_any_process() -> None:
    streamed = call(1, 1, 10, 90, result_hash=5, service="app")
    seen = {"scope": PROXY_SCOPE, "response_id": "r1", "instance": "proxy", "input_tokens": 7}
    assert settled(streamed, call(2, 2, 12, 88, result_hash=5, **seen)) == {"1": (1, ""), "2": (0, "1")}
    assert settled(streamed, call(2, 2, 12, 88, result_hash=6, **seen)) == {"1": (1, ""), "2": (1, "")}


def test_a_call_that_failed_is_known_again_by_what_was_asked() -> None:
    failed = {"status": Status.ERROR, "input": "weather?", "is_root": False, "parent_span_id": "9"}
    broken = call(1, 1, 10, 90, service="app", error_message="cancelled", **failed)
    seen = call(2, 2, 12, 88, scope=PROXY_SCOPE, response_id="r1", output="Sun", result_hash=5, **failed)
    assert settled(broken, seen) == {"1": (1, ""), "2": (0, "1")}


def test_a_program_tells_more_of_its_calls_than_the_proxy() -> None:
    """Whatever else its trace has: a call that is another one's twin there is counted as that."""
    outer = call(1, 1, 10, 90, scope="langchain", is_root=False, parent_span_id="9", result_hash=5)
    inner = call(1, 3, 12, 70, response_id="r1", is_root=False, parent_span_id="9", result_hash=5)
    seen = call(2, 2, 11, 88, scope=PROXY_SCOPE, response_id="r1", is_root=False, parent_span_id="8")
    assert settled(outer, inner, seen) == {"1": (1, ""), "2": (0, "1")}


def tool(run: int, span: int, start_ms: int, end_ms: int, **fields: Any) -> Event:
    usual = {"kind": Kind.TOOL, "tool": "weather", "scope": "langchain", "result_hash": 5}
    return call(run, span, start_ms, end_ms, **usual | fields)


def tools_of(*events: Event) -> dict[str, int]:
    rows = Rows()
    rows.take(Deriver(rows, max_events=100), list(events), 1)
    return {run_id[-1]: run.counts.tool_calls for run_id, run in rows.runs.items() if not run.duplicate_of}


SEEN = {"scope": PROXY_SCOPE, "tool_call_id": "c1", "is_root": False, "parent_span_id": "8"}


def test_a_tool_that_another_trace_tells_counts_there_where_that_is_more_than_the_tool() -> None:
    seen = tool(1, 1, 10, 90, **SEEN)
    assert tools_of(seen, tool(2, 2, 20, 80)) == {"1": 1}
    within = tool(2, 2, 20, 80, is_root=False, parent_span_id="7")
    root = call(2, 7, 0, 95, kind=Kind.WORKFLOW)
    assert tools_of(seen, root, within) == {"2": 1}
    assert tools_of(root, within, seen) == {"2": 1}


def test_a_tool_of_which_the_proxy_only_saw_the_result_had_ended_before() -> None:
    seen = tool(1, 1, 90, 90, args_hash=3, **SEEN)
    assert tools_of(seen, tool(2, 2, 20, 80, args_hash=3)) == {"1": 1}
    assert tools_of(seen, tool(2, 2, 20, 80, args_hash=4)) == {"1": 1, "2": 1}


@pytest.mark.parametrize(
    "other",
    [
        {"tool": "time"},
        {"result_hash": 6},
        {"end_ms": 95},
        {"start_ms": 5},
        {"tool_call_id": "c2"},
        {"scope": PROXY_SCOPE},
        {"project": "other"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_tool_that_differs_in_anything_is_another(other: dict[str, Any]) -> None:
    usual = {"start_ms": 20, "end_ms": 80}
    assert tools_of(tool(1, 1, 10, 90, **SEEN), tool(2, 2, **usual | other)) == {"1": 1, "2": 1}


@pytest.mark.parametrize("instance", ["", "one"])
def test_a_tool_that_two_instrumentations_put_into_traces_of_their_own_is_one(instance: str) -> None:
    usual = {"instance": instance, "service": "app"}
    one = tool(1, 1, 10, 95, **usual, args_hash=1)
    assert tools_of(one, tool(2, 2, 11, 91, **usual, scope="other", args_hash=2)) == {"1": 1}
    assert tools_of(one, tool(2, 2, 11, 91, **usual, scope="other", result_hash=6)) == {"1": 1, "2": 1}
    assert tools_of(one, tool(2, 2, 100, 180, **usual, scope="other")) == {"1": 1, "2": 1}
    assert tools_of(one, tool(2, 2, 11, 91, **usual)) == {"1": 1, "2": 1}


def test_of_tools_that_are_all_alike_each_is_joined_to_one() -> None:
    seen = [tool(1, n, 10, 90, **SEEN | {"tool_call_id": f"c{n}"}) for n in (1, 2, 3)]
    executed = [tool(n, n, 20, 80) for n in (4, 5)]
    assert sum(tools_of(*seen, *executed).values()) == 3


def test_answers_that_differ_are_of_two_calls_even_of_one_process() -> None:
    outer = call(1, 1, 10, 90, scope="langchain", response_id="r1", result_hash=5)
    assert settled(outer, call(2, 2, 20, 80, result_hash=6)) == {"1": (1, ""), "2": (1, "")}


def test_what_one_instrumentation_tells_twice_is_one_call() -> None:
    assert settled(call(1, 1, 10, 80, response_id="r1"), call(2, 2, 10, 90, response_id="r1")) == {
        "1": (0, "2"),
        "2": (1, ""),
    }


def test_an_id_that_everything_has_joins_nothing() -> None:
    calls = [call(n, n, 10, 90, scope=f"scope {n % 2}", response_id="stub") for n in range(1, 201)]
    rows = Rows()
    rows.take(Deriver(rows, max_events=1000), calls, 1)
    assert sum(run.counts.llm_calls for run in rows.runs.values()) == 200
