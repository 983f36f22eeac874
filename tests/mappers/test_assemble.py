from __future__ import annotations

import copy
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.assemble import INCOMPLETE_AFTER_NS, assemble, settle
from mappers.foreign import join
from mappers.model import Event, Kind, Run, RunStatus, Status
from mappers.normalize import Normalizer
from tests.corpus import select
from tests.mappers.spans import captured_spans

RUN = "1" * 32


def event(span_id: str, parent: str = "", kind: str = Kind.OTHER, start: int = 0, **given: Any) -> Event:
    usual: dict[str, Any] = {
        "run_id": RUN,
        "span_id": span_id,
        "parent_span_id": parent,
        "is_root": not parent,
        "kind": kind,
        "name": span_id,
        "start_ns": start,
        "end_ns": start + 10,
    }
    return Event(**usual | given)


def run_of(*events: Event) -> Run:
    return assemble(events).run


def test_the_earliest_span_without_a_parent_is_the_root() -> None:
    run = run_of(
        event("b", start=5, name="second"), event("a", start=1, name="first"), event("c", "a", start=0)
    )
    assert (run.name, run.status, run.start_ns, run.end_ns) == ("first", RunStatus.COMPLETED, 0, 15)


def test_a_run_fails_only_if_its_root_does() -> None:
    failed_call = event("b", "a", Kind.LLM, status=Status.ERROR)
    assert run_of(event("a"), failed_call).status == RunStatus.COMPLETED
    failed = run_of(event("a", status=Status.ERROR, error_type="E", error_message="m"))
    assert (failed.status, failed.error_type, failed.error_message) == (RunStatus.FAILED, "E", "m")


def test_without_its_root_a_run_runs_until_nothing_was_heard_for_long() -> None:
    run = run_of(event("b", "a", name="child"))
    assert (run.name, run.has_root, run.status) == ("child", False, RunStatus.RUNNING)
    assert settle(run, run.end_ns + INCOMPLETE_AFTER_NS) == RunStatus.RUNNING
    assert settle(run, run.end_ns + INCOMPLETE_AFTER_NS + 1) == RunStatus.INCOMPLETE
    late = run_of(event("b", "a"), event("a", name="root"))
    assert (late.name, settle(late, 10**18)) == ("root", RunStatus.COMPLETED)


def test_an_open_root_is_running_however_old() -> None:
    assert settle(run_of(event("a", end_ns=0, status=Status.RUNNING)), 10**18) == RunStatus.RUNNING


def test_a_run_without_events_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        assemble([])


def test_a_call_within_a_call_is_the_same_call_and_tells_what_the_outer_one_lacks() -> None:
    events = [
        event("root", kind=Kind.AGENT),
        event("outer", "root", Kind.LLM, 1, input_tokens=100, request_model="m"),
        event("plumbing", "outer", Kind.OTHER, 2),
        event("inner", "plumbing", Kind.LLM, 3, input_tokens=90, output_tokens=20, response_model="m-1"),
        event("tool", "inner", Kind.TOOL, 4, tool="ask"),
        event("other", "tool", Kind.LLM, 5, input_tokens=7, cost_usd=Decimal("0.5"), cost_source="reported"),
    ]
    run = run_of(*events)
    assert [e.duplicate_of for e in events] == ["", "", "", "outer", "", ""]
    assert (run.counts.llm_calls, run.usage.input, run.usage.output, run.usage.total) == (2, 107, 20, 127)
    assert (run.models, run.cost_usd, run.cost_source) == (("m-1",), Decimal("0.5"), "reported")
    assert run.usage.reasoning is None


def wrapped(*inner: Event) -> list[Event]:
    """A call that lasts, and what lies within it."""
    outer = event("outer", "", Kind.LLM, input_tokens=12, output_tokens=3, response_id="resp_2")
    outer.end_ns = 1_000
    return [outer, *inner]


def test_calls_that_were_answered_one_after_the_other_within_a_call_count_and_their_wrapper_does_not() -> (
    None
):
    events = wrapped(
        event("first", "outer", Kind.LLM, 1, input_tokens=10, output_tokens=2, response_id="resp_1"),
        event("client", "first", Kind.LLM, 2, input_tokens=10, output_tokens=2, response_id="resp_1"),
        event("plumbing", "outer", Kind.OTHER, 20),
        event("second", "plumbing", Kind.LLM, 21, input_tokens=12, output_tokens=3, response_id="resp_2"),
    )
    run = run_of(*events)
    assert {e.span_id: e.duplicate_of for e in events if e.duplicate_of} == {
        "outer": "second",
        "client": "first",
    }
    assert (run.counts.llm_calls, run.usage.input, run.usage.output) == (2, 22, 5)


@pytest.mark.parametrize(
    "second",
    [
        {"status": Status.ERROR},
        {"input_tokens": None},
        {"response_id": "resp_1"},
        {"start": 5},
    ],
    ids=["failed", "nobody counted", "one answer", "side by side"],
)
def test_what_is_not_surely_two_calls_within_a_call_is_the_same_call(second: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"start": 20, "input_tokens": 12, "response_id": "resp_2"}
    events = wrapped(
        event("first", "outer", Kind.LLM, 1, input_tokens=10, response_id="resp_1"),
        event("second", "outer", Kind.LLM, **usual | second),
    )
    assert run_of(*events).counts.llm_calls == 1
    assert not events[0].duplicate_of


def test_an_agents_method_is_no_part_of_its_name() -> None:
    assert run_of(event("weather_agent.run", kind=Kind.AGENT)).agents == ("weather_agent",)


def test_a_reported_cost_of_a_twin_replaces_a_computed_one_and_is_given_back() -> None:
    outer = event(
        "outer",
        "r",
        Kind.LLM,
        1,
        cost_usd=Decimal(3),
        cost_source="computed",
        price_version="list",
        input_tokens=1,
    )
    inner = event("inner", "outer", Kind.LLM, 2, cost_usd=Decimal(2), cost_source="reported", input_tokens=1)
    own = event("own", "r", Kind.LLM, 20, cost_usd=Decimal(5), cost_source="reported")
    told = event("told", "own", Kind.LLM, 21, cost_usd=Decimal(7), cost_source="reported")
    assert run_of(event("r"), outer, inner, own, told).cost_usd == Decimal(7)
    assert (outer.cost_usd, outer.cost_source, outer.price_version) == (Decimal(2), "reported", "")
    inner.parent_span_id = "r"
    outer.request_model, outer.provider, outer.output_tokens = "gpt-4o-mini", "openai", 1
    assemble([event("r"), outer, inner])
    assert (outer.cost_source, outer.cost_usd) == ("computed", Decimal("7.5E-7").quantize(Decimal("1e-9")))


def test_a_call_whose_tokens_come_from_a_twin_is_priced() -> None:
    outer = event("outer", "r", Kind.LLM, 1, provider="openai", request_model="gpt-4o-mini")
    inner = event("inner", "outer", Kind.LLM, 2, input_tokens=1_000_000, output_tokens=0)
    run = run_of(event("r"), outer, inner)
    assert (run.cost_usd, run.cost_source) == (Decimal("0.15"), "computed")
    again = run_of(event("r"), outer, inner)
    assert again.cost_usd == run.cost_usd
    assert run_of(event("r"), outer).cost_usd is None


def test_a_twin_that_knows_of_the_cache_corrects_what_was_read() -> None:
    outer = event("outer", "r", Kind.LLM, 1, input_tokens=100, output_tokens=20)
    inner = event(
        "inner", "outer", Kind.LLM, 2, input_tokens=180, cache_read_tokens=50, cache_write_tokens=30
    )
    for _ in range(2):
        usage = run_of(event("r"), outer, inner).usage
        assert (usage.input, usage.output, usage.cache_read, usage.cache_write) == (180, 20, 50, 30)
    assert (run_of(event("r"), outer).usage.input, outer.cache_read_tokens) == (100, None)


def test_a_guess_at_usage_yields_to_what_a_twin_reports_and_is_given_back() -> None:
    guessed: dict[str, Any] = {"input_tokens": 14, "output_tokens": 7, "usage_source": "estimated"}
    outer = event("outer", "r", Kind.LLM, 1, provider="openai", request_model="gpt-4o-mini", **guessed)
    inner = event("inner", "outer", Kind.LLM, 2, input_tokens=100, output_tokens=20, cache_read_tokens=64)
    inner.usage_source = "reported"
    for _ in range(2):
        run = run_of(event("r"), outer, inner)
        assert (run.usage.input, run.usage.output, run.usage.cache_read) == (100, 20, 64)
        assert (outer.usage_source, run.cost_source) == ("reported", "computed")
    run = run_of(event("r"), outer)
    assert (run.usage.input, run.usage.output, run.usage.cache_read) == (14, 7, None)
    assert outer.usage_source == "estimated"


@pytest.mark.parametrize("told", [{"output_tokens": None}, {"usage_source": "estimated"}], ids=str)
def test_a_guess_at_usage_stays_where_no_twin_reports_both_ends(told: dict[str, Any]) -> None:
    outer = event("outer", "r", Kind.LLM, 1, input_tokens=14, output_tokens=7, usage_source="estimated")
    known = {"input_tokens": 100, "output_tokens": 20, "usage_source": "reported", **told}
    run = run_of(event("r"), outer, event("inner", "outer", Kind.LLM, 2, **known))
    assert (run.usage.input, run.usage.output) == (14, 7)


def test_a_twin_that_counts_otherwise_adds_no_cache() -> None:
    outer = event("outer", "r", Kind.LLM, 1, input_tokens=100, output_tokens=20)
    inner = event("inner", "outer", Kind.LLM, 2, input_tokens=90, cache_read_tokens=50)
    usage = run_of(event("r"), outer, inner).usage
    assert (usage.input, usage.cache_read) == (100, None)


def test_calls_that_overlap_with_one_response_id_are_one_call() -> None:
    estimated = event("a", "r", Kind.LLM, 1, response_id="x", input_tokens=14, output_tokens=7)
    real = event("b", "r", Kind.LLM, 2, response_id="x", input_tokens=100, output_tokens=20)
    stubbed = event("c", "r", Kind.LLM, 50, response_id="x", input_tokens=1)
    run = run_of(event("r"), estimated, real, stubbed)
    assert (estimated.duplicate_of, real.duplicate_of, stubbed.duplicate_of) == ("b", "", "")
    assert (run.counts.llm_calls, run.usage.input) == (2, 101)


def streamed(span_id: str, scope: str, start: int, parent: str = "r", **more: Any) -> Event:
    times = {"start_ns": start * 10**6, "end_ns": (start + 100) * 10**6}
    return event(span_id, parent, **{"kind": Kind.LLM, "scope": scope, "result_hash": 5} | times | more)


def test_calls_beside_each_other_that_are_alike_are_one_call() -> None:
    """A framework's instrumentation that is called back does not make its span the current one."""
    outer = streamed("a", "langchain", 1, end_ns=150 * 10**6)
    inner = streamed("b", "openai", 2, input_tokens=100, output_tokens=20, response_id="x")
    third = streamed("c", "other", 3)
    run = run_of(event("r", end_ns=10**9), outer, inner, third)
    assert (outer.duplicate_of, inner.duplicate_of, third.duplicate_of) == ("", "a", "a")
    assert (run.counts.llm_calls, run.counts.retries, run.usage.total) == (1, 0, 120)
    assert outer.response_id == "x"


@pytest.mark.parametrize(
    "other",
    [
        {"result_hash": 6},
        {"start": 120},
        {"scope": "langchain"},
        {"request_model": "claude"},
        {"input_tokens": 99},
        {"status": Status.ERROR, "result_hash": 0},
        {"kind": Kind.EMBEDDING},
        {"parent": "between"},
    ],
    ids=["answer", "time", "one instrumentation", "model", "counts", "outcome", "kind", "an agent between"],
)
def test_calls_beside_each_other_that_differ_in_anything_are_two(other: dict[str, Any]) -> None:
    one = streamed("a", "langchain", 1, end_ns=150 * 10**6, request_model="gpt-4o", input_tokens=100)
    usual = {"span_id": "b", "scope": "openai", "start": 2}
    inner = streamed(**usual | other)
    between = event("between", "a", Kind.AGENT, start=10**6)
    run_of(event("r", end_ns=10**9), one, between, inner)
    assert (one.duplicate_of, inner.duplicate_of) == ("", "")


def test_of_calls_beside_each_other_that_are_all_alike_each_is_joined_to_one() -> None:
    outer = [streamed(f"o{n}", "langchain", n) for n in range(4)]
    inner = [streamed(f"i{n}", "openai", n) for n in range(4)]
    root = event("r", end_ns=10**9)
    assert run_of(root, *outer, *inner).counts.llm_calls == 4
    assert run_of(root, *outer, *inner, streamed("alone", "openai", 2)).counts.llm_calls == 5
    # One that has told of the call below its span has no part in another.
    within = [streamed(f"w{n}", "openai", n, f"o{n}") for n in range(4)]
    assert run_of(root, *outer, *within, streamed("alone", "openai", 2)).counts.llm_calls == 5


def test_a_failure_that_two_instrumentations_tell_in_the_same_words_is_one() -> None:
    failed = {"status": Status.ERROR, "result_hash": 0}
    one = streamed("a", "langchain", 1, error_message="BadRequestError: 400 bad request\nTraceback", **failed)
    same = streamed("b", "openai", 1, error_message="400 bad request", **failed)
    other = streamed("c", "openai", 1, error_message="too many requests", **failed)
    run = run_of(event("r", end_ns=10**9), one, same, other)
    assert (run.counts.llm_calls, run.counts.llm_errors) == (2, 2)


def test_who_breaks_a_stream_off_may_tell_that_as_a_failure() -> None:
    broken = streamed("a", "langchain", 1, status=Status.ERROR)
    assert run_of(event("r"), broken, streamed("b", "openai", 1, response_id="x")).counts.llm_calls == 1


def test_a_tool_within_a_tool_of_its_name_is_the_same_execution() -> None:
    events = [
        event("r"),
        event("client", "r", Kind.TOOL, 1, tool="mcp.get_weather"),
        event("server", "client", Kind.TOOL, 2, tool="get_weather"),
        event("helper", "server", Kind.TOOL, 3, tool="weather"),
    ]
    run = run_of(*events)
    assert events[2].duplicate_of == "client"
    assert events[3].duplicate_of == ""
    assert (run.counts.tool_calls, run.tools) == (2, ("mcp.get_weather", "weather"))


def test_tools_beside_each_other_that_two_instrumentations_tell_are_one_execution() -> None:
    def told(span_id: str, scope: str, **more: Any) -> Event:
        return event(span_id, "r", start=1, **{"kind": Kind.TOOL, "tool": "weather", "scope": scope} | more)

    def tools(*events: Event) -> int:
        return run_of(event("r"), *events).counts.tool_calls

    one = told("a", "langchain", result_hash=5, args_hash=1)
    assert tools(one, told("b", "other", result_hash=5, args_hash=2)) == 1
    assert tools(told("a", "langchain", tool_call_id="c1"), told("b", "other", tool_call_id="c1")) == 1
    assert tools(told("a", "langchain", args_hash=1), told("b", "other", args_hash=1)) == 1
    failed = {"status": Status.ERROR, "error_message": "no such city"}
    assert tools(told("a", "langchain", **failed), told("b", "other", **failed)) == 1
    pairs = [told(f"{scope}{n}", scope, result_hash=5) for n in range(3) for scope in ("langchain", "other")]
    assert tools(*pairs) == 3
    assert tools(one, told("b", "other", result_hash=6)) == 2
    assert tools(one, told("b", "langchain", result_hash=5)) == 2
    assert tools(one, told("b", "other", result_hash=5, tool="time")) == 2
    assert tools(told("a", "langchain"), told("b", "other")) == 2


def test_a_tool_call_told_by_traffic_yields_to_the_tools_own_span() -> None:
    """Traffic gives bounds: from the answer that made the call to the request that brought its result."""
    proxy = {"scope": "eddyline.proxy", "kind": Kind.TOOL}
    run = run_of(
        event("agent", kind=Kind.AGENT, end_ns=500),
        event("by-id", "agent", Kind.TOOL, 110, tool="search", tool_call_id="c1"),
        event("first", "agent", Kind.TOOL, 220, tool="weather"),
        event("second", "agent", Kind.TOOL, 240, tool="weather"),
        event("outside", "agent", Kind.TOOL, 460, tool="weather"),
        event("in-1", "agent", start=100, end_ns=150, tool="search", tool_call_id="c1", **proxy),
        event("in-2", "agent", start=200, end_ns=300, tool="weather", tool_call_id="c2", **proxy),
        event("in-3", "agent", start=200, end_ns=300, tool="weather", tool_call_id="c3", **proxy),
        event("in-4", "agent", start=200, end_ns=300, tool="weather", tool_call_id="c4", **proxy),
        event("in-5", "agent", start=300, end_ns=400, tool="other", tool_call_id="c5", **proxy),
    )
    assert run.counts.tool_calls == 4 + 2


def test_attempts_within_a_call_count_as_retries_only() -> None:
    run = run_of(event("r"), event("a", "r", Kind.LLM, 1, attempts=3))
    assert (run.counts.llm_calls, run.counts.retries) == (1, 2)


def test_attempts_that_are_spans_of_their_own_count_as_calls_too() -> None:
    failed = {"status": Status.ERROR, "request_model": "m"}
    run = run_of(
        event("r"),
        event("a", "r", Kind.LLM, 1, **failed),
        event("b", "r", Kind.LLM, 20, **failed),
        event("c", "r", Kind.LLM, 40, request_model="m"),
        event("d", "r", Kind.LLM, 60, request_model="m"),
    )
    assert (run.counts.llm_calls, run.counts.llm_errors, run.counts.retries) == (4, 2, 2)


def test_attempts_side_by_side_below_one_call_are_its_retries() -> None:
    run = run_of(
        event("outer", kind=Kind.LLM),
        event("a", "outer", Kind.LLM, 1, status=Status.ERROR),
        event("b", "outer", Kind.LLM, 20),
    )
    assert (run.counts.llm_calls, run.counts.retries) == (1, 1)


@pytest.mark.parametrize(
    "change", [{"request_model": "other"}, {"args_hash": 2}, {"start_ns": 5}, {"parent_span_id": "elsewhere"}]
)
def test_another_call_after_a_failure_is_no_retry(change: dict[str, Any]) -> None:
    same = {"request_model": "m", "args_hash": 1}
    after: dict[str, Any] = {"parent_span_id": "r", "start_ns": 20} | same | change
    start, parent = after.pop("start_ns"), after.pop("parent_span_id")
    run = run_of(
        event("r"),
        event("a", "r", Kind.LLM, 1, status=Status.ERROR, **same),
        event("b", parent, Kind.LLM, start, **after),
    )
    assert run.counts.retries == 0


def test_tokens_of_embeddings_stand_apart() -> None:
    run = run_of(event("r"), event("a", "r", Kind.EMBEDDING, 1, input_tokens=14, response_model="e"))
    assert (run.usage.embedding, run.usage.input, run.usage.total, run.models) == (14, None, None, ())
    assert run.counts.embeddings == 1


def handoff(span_id: str, parent: str, start: int, **given: Any) -> Event:
    return event(
        span_id, parent, Kind.HANDOFF, start, **{"tool": "transfer", "handoff_source": "tool_span"} | given
    )


def test_a_handoff_is_from_the_agent_around_it_to_the_one_it_names_or_the_next() -> None:
    named = handoff("named", "a", 2, handoff_to="writer")
    unnamed = handoff("unnamed", "b", 12)
    own = handoff("own", "r", 22, agent="planner", handoff_to="x")
    run = run_of(
        event("r"),
        event("a", "r", Kind.AGENT, 1, agent="planner"),
        named,
        event("b", "r", Kind.AGENT, 11, agent="writer"),
        unnamed,
        event("b2", "b", Kind.AGENT, 13, agent="writer"),
        event("c", "r", Kind.AGENT, 21, agent="reviewer"),
        own,
    )
    assert (named.handoff_from, named.handoff_to, named.handoff_source) == ("planner", "writer", "tool_span")
    assert (unnamed.handoff_from, unnamed.handoff_to) == ("writer", "reviewer")
    assert unnamed.handoff_source == "agent_sequence"
    assert own.handoff_from == "planner"
    assert (run.counts.handoffs, run.counts.tool_calls, run.tools) == (3, 0, ())
    assert run.agents == ("planner", "writer", "reviewer")


def test_a_guess_is_corrected_when_an_earlier_agent_turns_up() -> None:
    guessed = handoff("h", "a", 2)
    known = [
        event("a", kind=Kind.AGENT, agent="planner"),
        guessed,
        event("z", "a", Kind.AGENT, 90, agent="last"),
    ]
    assemble(known)
    assert guessed.handoff_to == "last"
    late = event("m", "a", Kind.AGENT, 50, agent="middle")
    assert assemble([*known, late]).changed == [guessed]
    assert guessed.handoff_to == "middle"
    assert assemble([*known, late]).changed == []


@pytest.mark.parametrize("told", ["handoff_span", "tool_span"])
def test_a_guess_that_does_not_hold_leaves_no_trace(told: str) -> None:
    def known(*late: Event) -> list[Event]:
        hands_over = handoff("h", "m", 2, tool="hand over", handoff_source=told)
        return [event("r"), hands_over, event("z", "r", Kind.AGENT, 90, agent="writer"), *late]

    late = event("m", "r", Kind.AGENT, 1, agent="writer")
    events = known()
    assemble(events)
    assert events[1].handoff_source == "agent_sequence"
    assemble([*events, late])
    at_once = known(late)
    assemble(at_once)
    assert events[1] == at_once[1]
    assert (events[1].handoff_to, events[1].handoff_source) == ("", told)


def test_labels_are_the_roots_else_the_first_found() -> None:
    run = run_of(
        event("r", session_id="s", start=5),
        event("a", "r", start=1, session_id="other", user_id="u", tags=("t",), environment="prod"),
    )
    assert (run.session_id, run.user_id, run.tags, run.environment) == ("s", "u", ("t",), "prod")


def test_a_session_that_a_program_named_comes_before_one_that_a_library_made_up() -> None:
    root = event("r", session_id="made up", session_is_weak=True)
    assert run_of(root, event("c", "r", Kind.LLM, 2)).session_id == "made up"
    assert run_of(root, event("c", "r", Kind.LLM, 2, session_id="named")).session_id == "named"


def test_a_trace_that_only_sets_up_says_so() -> None:
    assert run_of(event("a", is_setup=True), event("b", "a")).setup_only
    assert not run_of(event("a", is_setup=True), event("b", "a", Kind.LLM)).setup_only
    assert not run_of(event("a")).setup_only


IDS = st.sampled_from("abcdef")
EVENTS = st.lists(
    st.builds(
        event,
        IDS,
        st.just("") | IDS,
        st.sampled_from(list(Kind)),
        st.integers(0, 5),
        seq=st.integers(0, 1),
        status=st.sampled_from(list(Status)),
        agent=st.sampled_from(["", "x", "y"]),
        tool=st.sampled_from(["", "t", "s.t"]),
        response_id=st.sampled_from(["", "1", "2"]),
        handoff_to=st.sampled_from(["", "x"]),
        handoff_source=st.sampled_from(["tool_span", "agent_sequence"]),
        input_tokens=st.none() | st.integers(0, 9),
        attempts=st.integers(1, 3),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda e: (e.span_id, e.seq),
)


@settings(deadline=None, max_examples=300)
@given(events=EVENTS, seed=st.integers(0, 99))
def test_the_order_of_arrival_does_not_matter_not_even_when_parents_form_rings(
    events: list[Event], seed: int
) -> None:
    shuffled = copy.deepcopy(events)
    random.Random(seed).shuffle(shuffled)
    # Part of them came first and were settled for themselves.
    assemble(shuffled[: len(shuffled) // 2 + 1])
    first, second = assemble(events).run, assemble(shuffled).run
    assert first == second
    key = lambda e: (e.span_id, e.seq)  # noqa: E731
    assert sorted(events, key=key) == sorted(shuffled, key=key)
    assert assemble(shuffled).changed == []


@pytest.mark.parametrize("scenario", list(select("traceloop/langchain", "gen_ai/strands-native")), ids=str)
def test_captured_runs_are_the_same_in_any_order(scenario: Any) -> None:
    normalizer = Normalizer()
    spans = captured_spans(scenario)
    trace = max({span.trace_id for span in spans}, key=lambda t: sum(span.trace_id == t for span in spans))
    events = [normalizer.normalize(span) for span in spans if span.trace_id == trace]
    expected = assemble(copy.deepcopy(events)).run
    for seed in range(3):
        random.Random(seed).shuffle(events)
        assert assemble(events).run == expected


def test_a_run_that_traffic_tells_is_the_instrumented_one_again() -> None:
    """No `traceparent`: the agent's own trace, and the conversation that the proxy found, share response ids."""
    traffic = {"scope": "eddyline.proxy", "run_id": "2" * 32, "source": "proxy"}
    theirs = [
        event("agent", kind=Kind.AGENT, end_ns=500),
        event("c1", "agent", Kind.LLM, 100, end_ns=200, response_id="r1", scope="sdk"),
        event("tool", "agent", Kind.TOOL, 210, end_ns=290, tool="t", scope="sdk"),
        event("c2", "agent", Kind.LLM, 300, end_ns=400, response_id="r2", scope="sdk"),
    ]
    ours = [
        event("root", kind=Kind.WORKFLOW, start=110, end_ns=390, **traffic),
        event("p1", "root", Kind.LLM, 110, end_ns=190, response_id="r1", input_tokens=7, **traffic),
        event("pt", "p1", Kind.TOOL, 190, end_ns=310, tool="t", **traffic),
        event("p2", "root", Kind.LLM, 310, end_ns=390, response_id="r2", input_tokens=8, **traffic),
    ]
    found = join([one for one in (*theirs, *ours) if one.kind == Kind.LLM])
    known = {span_id: foreign for (_, span_id), foreign in found.items()}
    counted, repeated = assemble(theirs, known).run, assemble(ours, known).run
    assert (counted.counts.llm_calls, counted.counts.tool_calls, counted.usage.input) == (2, 1, 15)
    assert (repeated.duplicate_of, repeated.counts.llm_calls) == (RUN, 0)


@pytest.mark.parametrize(
    ("again", "elsewhere"), [({}, True), ({"request_model": "another"}, False), ({"response_id": "r9"}, False)],
    ids=["the same call", "another model", "a call of nobody else"],
)  # fmt: skip
def test_a_try_that_only_the_proxy_saw_fail_is_of_the_call_that_succeeded(
    again: dict[str, str], elsewhere: bool
) -> None:
    """An SDK tries again by itself: its instrumentation tells one call, the proxy two."""
    traffic = {"scope": "eddyline.proxy", "run_id": "2" * 32, "source": "proxy"}
    theirs = [
        event("agent", kind=Kind.AGENT, end_ns=500),
        event("c1", "agent", Kind.LLM, 100, end_ns=200, response_id="r1", request_model="m", scope="sdk"),
    ]
    failed = event("p1", "root", Kind.LLM, 101, end_ns=110, request_model="m", status=Status.ERROR, **traffic)
    said = {"response_id": "r1", "request_model": "m", "input_tokens": 7, **again}
    ours = [
        event("root", kind=Kind.WORKFLOW, start=101, end_ns=190, **traffic),
        failed,
        event("p2", "root", Kind.LLM, 120, end_ns=190, **said, **traffic),
    ]
    found = join([one for one in (*theirs, *ours) if one.kind == Kind.LLM])
    known = {span_id: one for (run_id, span_id), one in found.items() if run_id == "2" * 32}
    run = assemble(ours, known).run
    assert (run.duplicate_of == RUN) is elsewhere
    assert failed.duplicate_of == ("c1" if elsewhere else "")
    assert run.counts.llm_errors == (0 if elsewhere else 1)


def test_the_tries_that_the_proxy_saw_are_retries_of_the_call_that_its_instrumentation_told_once() -> None:
    traffic = {"scope": "eddyline.proxy", "run_id": "2" * 32, "source": "proxy", "request_model": "m"}
    theirs = [
        event("agent", kind=Kind.AGENT, end_ns=500),
        event("c1", "agent", Kind.LLM, 100, end_ns=200, response_id="r1", request_model="m", scope="sdk"),
    ]
    ours = [
        event("root", kind=Kind.WORKFLOW, start=101, end_ns=190, **{**traffic, "request_model": ""}),
        event("p1", "root", Kind.LLM, 101, end_ns=110, status=Status.ERROR, **traffic),
        event("p2", "root", Kind.LLM, 120, end_ns=130, status=Status.ERROR, attempts=2, **traffic),
        event("p3", "root", Kind.LLM, 140, end_ns=190, response_id="r1", attempts=3, **traffic),
    ]
    found = join([one for one in (*theirs, *ours) if one.kind == Kind.LLM])
    known = {span_id: foreign for (_, span_id), foreign in found.items()}
    counted = assemble(theirs, known).run.counts
    assert (counted.llm_calls, counted.llm_errors, counted.retries) == (1, 0, 2)
    alone = assemble(ours).run.counts
    assert (alone.llm_calls, alone.llm_errors, alone.retries) == (3, 2, 2)
