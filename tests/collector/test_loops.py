"""Warnings do not depend on how the spans came, in which words, or on what was in memory."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from collector.deriver.compacting import Compacting
from collector.deriver.derived import Derived
from collector.deriver.deriver import Deriver
from collector.loops import LoopWatch, evaluation, member, sessions
from mappers.loops.configure import configured
from mappers.loops.detectors import LOOP, WASTE
from mappers.loops.evaluator import Engine
from mappers.model import LogRecord, Span, StatusCode, Warning
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from sinks.base import RetryableError
from tests.collector.stored import Stored
from tests.corpus import Scenario, scenarios
from tests.mappers.spans import captured_logs, captured_spans, span_of

TRACE = "7" * 32
ROOT = "1".rjust(16, "0")
SECOND = 10**9


USUAL = Engine()
normalizer_of = functools.cache(lambda engine: Normalizer(loops=engine))
"""It knows nothing of what it read before, and is long in the making."""


class Collector:
    """Normalizer, deriver and watch on a store; it can be restarted."""

    def __init__(self, max_events: int = 100_000, engine: Engine = USUAL) -> None:
        self.store = Stored()
        self._engine = engine
        self._max_events = max_events
        self._batch = 0
        self.restart()

    def restart(self) -> None:
        self._normalizer = normalizer_of(self._engine)
        self.watch = LoopWatch(self._engine, self.store)
        self._compacting = Compacting()
        self._deriver = Deriver(self.store, max_events=self._max_events, watch=self.watch)

    def take(self, spans: Sequence[Span]) -> Derived:
        self._batch += 1
        events = [self._normalizer.normalize(span) for span in spans]
        derived = self._deriver.derive(events, batch=self._batch, stored=self._batch - 1)
        self.store.write(derived)
        self._compacting.compact(derived.events)
        return derived

    def take_logs(self, records: Sequence[LogRecord]) -> None:
        self._batch += 1
        reader = RecordReader(self._normalizer)
        events = [event for record in records if (event := reader.event(record)) is not None]
        self.store.write(self._deriver.derive(events, batch=self._batch, stored=self._batch - 1))

    def loops(self) -> list[Warning]:
        return sorted(
            (warning for warning in self.store.standing() if warning.category == LOOP),
            key=lambda warning: (warning.run_id, warning.warning_id),
        )


def taken(spans: Iterable[Span], size: int = 1000) -> Collector:
    collector = Collector()
    batch = list(spans)
    for begin in range(0, len(batch), size):
        collector.take(batch[begin : begin + size])
    return collector


@pytest.mark.parametrize("scenario", scenarios(), ids=str)
def test_captured_loops_are_warned_of_and_nothing_else(scenario: Scenario) -> None:
    expected = scenario.expect["loop_warning"] or scenario.expect["loop_warning_across_runs"]
    collector = taken(captured_spans(scenario))
    collector.take_logs(captured_logs(scenario))
    assert bool(collector.loops()) == expected


@pytest.mark.parametrize("scenario", scenarios(), ids=str)
def test_looking_at_every_text_finds_no_more(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = taken(captured_spans(scenario)).loops()
    monkeypatch.setattr(Engine, "possible", lambda *_, **__: True)
    assert taken(captured_spans(scenario)).loops() == quick


# --------------------------------------------------------------------------- one run, in four conventions


def openinference(
    tool: str, arguments: Any, result: str, answer: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {"openinference.span.kind": "LLM", "output.value": answer, "llm.token_count.prompt": 100},
        {
            "openinference.span.kind": "TOOL",
            "tool.name": tool,
            "input.value": json.dumps(arguments),
            "output.value": result,
        },
    )


def traceloop(tool: str, arguments: Any, result: str, answer: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {
            "llm.request.type": "chat",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": answer,
            "gen_ai.usage.prompt_tokens": 100,
        },
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": tool,
            "traceloop.entity.input": json.dumps({"args": [], "kwargs": arguments}),
            "traceloop.entity.output": json.dumps({"output": result}),
        },
    )


def gen_ai(tool: str, arguments: Any, result: str, answer: str) -> tuple[dict[str, Any], dict[str, Any]]:
    message = [{"role": "assistant", "parts": [{"type": "text", "content": answer}]}]
    return (
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.output.messages": json.dumps(message),
            "gen_ai.usage.input_tokens": 100,
        },
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.call.arguments": json.dumps(arguments),
            "gen_ai.tool.call.result": result,
        },
    )


def llm_keys(tool: str, arguments: Any, result: str, answer: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {"llm.model_name": "m", "llm.output": answer, "llm.token_count.prompt": 100},
        {"tool.name": tool, "llm.input": json.dumps(arguments), "llm.output": result},
    )


CONVENTIONS = (openinference, traceloop, gen_ai, llm_keys)
Convention = Callable[[str, Any, str, str], tuple[dict[str, Any], dict[str, Any]]]


def looping_run(convention: Convention = openinference, *, trace: str = TRACE, **given: Any) -> list[Span]:
    """An agent that looks one thing up, then reads the same page six times and tries a failing tool four times."""
    calls = [("search", {"q": "harbour"}, "The harbour was built in 1821 by two brothers from the north.")]
    calls += [
        ("open_page", {"page": 7}, "Page 7: the lantern of the harbour was lit every evening at six.")
    ] * 6
    calls += [("query", {"sql": f"SELECT c{n} FROM ship"}, "Error: no such table: ship") for n in range(4)]
    spans = [
        span_of(
            {"openinference.span.kind": "AGENT"},
            trace_id=trace,
            span_id=ROOT,
            parent_span_id="",
            name="keeper",
            start_ns=SECOND,
            end_ns=99 * SECOND,
            **given,
        )
    ]
    for number, (tool, arguments, result) in enumerate(calls):
        pair = convention(tool, arguments, result, f"Next I shall try {tool}, as step {number}.")
        for part, attributes in enumerate(pair):
            start = (2 * number + part + 2) * SECOND
            spans.append(
                span_of(
                    attributes,
                    trace_id=trace,
                    span_id=f"{2 * number + part + 2:016x}",
                    parent_span_id=ROOT,
                    name=tool if part else "chat",
                    start_ns=start,
                    end_ns=start + SECOND // 2,
                    **given,
                )
            )
    return spans


def test_a_warning_says_what_when_and_at_what_cost() -> None:
    collector = taken(looping_run())
    warnings = {warning.type: warning for warning in collector.loops()}
    assert {"exact_repeat", "same_error"} <= warnings.keys()
    repeat = warnings["exact_repeat"]
    assert (repeat.run_id, repeat.count, repeat.tool, repeat.state) == (TRACE, 6, "open_page", "active")
    assert repeat.severity == "warning"
    assert repeat.primary
    assert repeat.first_event_id == f"{5:016x}.end"
    assert repeat.onset_event_id == f"{9:016x}.end"
    assert repeat.last_event_id == f"{15:016x}.end"
    assert (repeat.wasted_tokens, repeat.wasted_cost_usd) == (300, None)
    assert repeat.message == (
        "`open_page` was called 6 times in the same way and nothing new was learned;"
        " 300 tokens spent since it began to repeat."
    )
    assert "`open_page`" in repeat.suggestion
    run = collector.store.runs[TRACE]
    assert run.counts.warnings == len(collector.loops())
    assert (run.health_label, run.top_warning) == ("stuck", "exact_repeat")
    assert 0 <= run.health_score < 80
    assert any("open_page" in reason for reason in run.health_reasons)


def test_what_is_no_repetition_does_not_say_that_it_repeats() -> None:
    engine = configured({"budgets": {"steps": 10}})
    collector = Collector(engine=engine)
    collector.take(looping_run())
    (budget,) = (warning for warning in collector.store.warnings.values() if warning.type == "budgets")
    assert budget.message == "The run has used 22 of 10 steps, 12 over the budget."


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_same_run_in_other_words_has_the_same_warnings(convention: Convention) -> None:
    assert taken(looping_run(convention)).loops() == taken(looping_run()).loops()


@pytest.mark.parametrize("seed", range(12))
def test_order_repetition_batches_and_restarts_change_nothing(seed: int) -> None:
    expected = taken(looping_run())
    chooser = random.Random(seed)
    spans = looping_run()
    spans += chooser.sample(spans, 6)
    if seed % 3:
        chooser.shuffle(spans)
    collector = Collector(max_events=chooser.choice([0, 8, 1000]))
    while spans:
        size = chooser.randrange(1, 9)
        collector.take(spans[:size])
        del spans[:size]
        if chooser.random() < 0.2:
            collector.restart()
    assert collector.loops() == expected.loops()
    assert collector.store.runs[TRACE] == expected.store.runs[TRACE]


def test_what_could_not_be_read_is_looked_at_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = taken(looping_run())
    spans = looping_run()
    collector = Collector(max_events=0)
    for begin in range(0, len(spans), 3):
        batch = spans[begin : begin + 3]
        with monkeypatch.context() as patch:
            patch.setattr(collector.store, "texts_of", away)
            with suppress(RetryableError):
                collector.take(batch)
                continue
        collector.take(batch)
    assert collector.loops() == expected.loops()


def away(tenant: str, run_ids: Sequence[str]) -> Mapping[tuple[str, str, int], tuple[str, str]]:
    raise RetryableError("the store is away")


def test_what_later_spans_disprove_is_taken_back() -> None:
    spans = looping_run()[:14]  # up to the last page that was read
    collector = taken(spans)
    assert [warning.type for warning in collector.loops() if warning.primary] == ["exact_repeat"]
    outer = span_of(
        {
            "openinference.span.kind": "TOOL",
            "tool.name": "open_page",
            "input.value": "{}",
            "output.value": "",
        },
        trace_id=TRACE,
        span_id="f" * 16,
        parent_span_id=ROOT,
        name="open_page",
        start_ns=SECOND,
        end_ns=90 * SECOND,
    )
    for span in spans:
        if span.name == "open_page":
            span.parent_span_id = outer.span_id
    collector.take([outer, *spans])
    assert collector.loops() == []
    assert collector.store.runs[TRACE].counts.warnings == 0
    said = [warning for warning in collector.store.warnings.values() if warning.category == LOOP]
    assert {warning.state for warning in said} == {"retracted"}


def test_without_content_there_is_no_warning() -> None:
    spans = looping_run()
    for span in spans:
        span.attributes = {
            key: value for key, value in span.attributes.items() if key not in ("input.value", "output.value")
        }
    assert taken(spans).loops() == []


def turn(
    number: int, session: str, *, given: str = '{"page": 7}', answer: str = "Page 7 is about the lantern."
) -> list[Span]:
    """One trace of a client that opens a trace for each tool call."""
    attributes = {
        "openinference.span.kind": "TOOL",
        "tool.name": "open_page",
        "input.value": given,
        "output.value": answer,
        "session.id": session,
    }
    return [
        span_of(
            attributes,
            trace_id=f"{number:032x}",
            span_id=f"{number:016x}",
            parent_span_id="",
            name="open_page",
            start_ns=number * SECOND,
            end_ns=number * SECOND + 5,
        )
    ]


@pytest.fixture(params=["kept", "resting"])
def _memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what takes part in sessions stays in memory, or rests as soon as it was looked at."""
    if request.param == "resting":
        monkeypatch.setattr(sessions, "MAX_EVENTS", 0)


of_any_memory = pytest.mark.usefixtures("_memory")


@of_any_memory
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("order", [(1, 2, 3, 4, 5), (3, 5, 1, 2, 4)])
def test_a_loop_over_the_runs_of_a_session_is_carried_by_the_latest(
    order: tuple[int, ...], restarts: bool
) -> None:
    collector = Collector()
    for number in order:
        collector.take(turn(number, "talk"))
        if restarts:
            collector.restart()
    (warning,) = collector.loops()
    assert (warning.type, warning.run_id, warning.count) == ("exact_repeat", f"{5:032x}", 5)
    assert warning.evidence[0] == f"{1:032x}/{1:016x}.end"
    assert collector.store.runs[f"{5:032x}"].counts.warnings == 1
    assert sum(run.counts.warnings for run in collector.store.runs.values()) == 1


def test_a_warning_that_grows_after_a_restart_is_known_to_be_no_new_one() -> None:
    collector = Collector()
    spans = looping_run()
    first = collector.take(spans[:12])
    assert first.warnings
    assert not first.before
    collector.restart()
    later = collector.take(spans[12:14])
    assert {("", warning.warning_id) for warning in later.warnings} == later.before.keys()


def test_a_run_that_is_only_judged_again_keeps_what_it_was_settled_to() -> None:
    """Prices of one's own and what other traces know are not in a run's events."""
    collector = Collector()
    for number in range(1, 4):
        collector.take(turn(number, "talk"))
    bearer = collector.store.runs[f"{3:032x}"]
    assert bearer.counts.warnings == 1
    bearer.cost_usd, bearer.cost_source = Decimal(7), "override"
    collector.restart()
    collector.take(turn(4, "talk"))  # the warning moves on to it
    judged = collector.store.runs[f"{3:032x}"]
    assert (judged.counts.warnings, judged.cost_usd, judged.cost_source) == (0, Decimal(7), "override")


@pytest.mark.parametrize("seed", range(4))
def test_a_loop_in_a_conversation_is_carried_by_its_latest_call(seed: int) -> None:
    (scenario,) = (one for one in scenarios() if one.name == "openinference/openai/loop")
    spans = captured_spans(scenario)
    latest = max(spans, key=lambda span: span.start_ns).trace_id
    chooser = random.Random(seed)
    spans += chooser.sample(spans, 3)
    chooser.shuffle(spans)
    collector = Collector()
    for span in spans:
        collector.take([span])
        if seed % 2:
            collector.restart()
    (warning,) = collector.loops()
    assert (warning.type, warning.run_id, warning.count) == ("exact_repeat", latest, 6)
    counts = {run.run_id: run.counts.warnings for run in collector.store.runs.values()}
    assert {run_id for run_id, count in counts.items() if count} == {latest}


@of_any_memory
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_loop_in_a_long_session_stays_with_the_latest_run(restarts: bool, late: bool) -> None:
    collector = Collector()
    numbers = list(range(1, 151))
    if late:
        numbers[60], numbers[75] = numbers[75], numbers[60]
    for begin in range(0, len(numbers), 5):
        collector.take([span for number in numbers[begin : begin + 5] for span in turn(number, "talk")])
        if restarts and begin % 15 == 0:
            collector.restart()
    (warning,) = collector.loops()
    expected = taken([span for number in range(1, 151) for span in turn(number, "talk")])
    assert expected.loops() == [warning]
    assert warning.run_id == f"{150:032x}"
    assert 20 <= warning.count <= 150


@pytest.fixture
def _short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are looked at from a later run on every six runs or so."""
    monkeypatch.setattr(sessions, "LATEST", 4)
    monkeypatch.setattr(member, "APART", 6)


def wandering(number: int, chooser: random.Random) -> list[Span]:
    """One trace of a session in which some things repeat, some fail, some are new; now and then of several spans."""
    spans = []
    for part in range(chooser.choice([1, 1, 1, 3])):
        what = chooser.choice(["model", "refused", "page", "page", "page", "query", "query", "search", "ask"])
        attributes: dict[str, Any] = {"session.id": "talk"}
        if what in ("model", "refused", "ask"):
            attributes |= {"openinference.span.kind": "LLM", "llm.model_name": "m", "input.value": what}
            attributes |= {"llm.token_count.prompt": chooser.choice([900, 60_000 + 9_000 * number])}
        if what == "ask":
            call = "llm.output_messages.0.message.tool_calls.0.tool_call.function."
            attributes |= {f"{call}name": "look", f"{call}arguments": '{"at": 1}'}
        if what in ("page", "search", "query"):
            given, answer = {
                "page": (chooser.randrange(2), "Page 7 tells of the lantern, lit every evening at six."),
                "search": (number, f"{number} is answered by {'abcdefgh'[number % 8] * number}."),
                "query": (number, "Error: no such table: ship"),
            }[what]
            attributes |= {"openinference.span.kind": "TOOL", "tool.name": what}
            attributes |= {"input.value": json.dumps({"of": given}), "output.value": answer}
        start_ns = number * SECOND + part * 10
        spans.append(
            span_of(
                attributes,
                trace_id=f"{number:032x}",
                span_id=f"{number:015x}{part}",
                parent_span_id="" if part == 0 else f"{number:015x}0",
                name="chat" if "llm.model_name" in attributes else what,
                start_ns=start_ns,
                end_ns=start_ns + 5,
                status_code=StatusCode.ERROR if what == "refused" else StatusCode.UNSET,
                status_message="429 rate limit" if what == "refused" else "",
            )
        )
    return spans


@of_any_memory
@pytest.mark.usefixtures("_short_windows")
@pytest.mark.parametrize("seed", range(6))
def test_what_is_evaluated_beside_says_what_evaluating_anew_says(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chooser = random.Random(seed)
    spans = [span for number in range(1, 90) for span in wandering(number, chooser)]
    if seed % 2:  # some come late
        for place in chooser.sample(range(len(spans) - 12), 8):
            spans.insert(place + chooser.randrange(12), spans.pop(place))
    beside, anew, again = Collector(), Collector(), Collector()
    while spans:
        size = chooser.choice([1, 1, 2, 9])
        batch, spans = spans[:size], spans[size:]
        beside.take(batch)
        with monkeypatch.context() as patch:
            patch.setattr(evaluation, "AHEAD", 0)
            anew.take(batch)
        again.take(batch)
        if chooser.random() < 0.2:
            again.restart()
        assert beside.store.warnings == anew.store.warnings == again.store.warnings
    assert len(beside.store.warnings) > 1
    assert beside.store.runs == anew.store.runs


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of runs that were taken up again, in a memory in which all rest as soon as they were looked at."""
    monkeypatch.setattr(sessions, "MAX_EVENTS", 0)
    found: list[str] = []
    wake = sessions.Sessions.wake

    def noted(self: sessions.Sessions, members: Iterable[member.Member], at_hand: sessions.AtHand) -> None:
        sought = list(members)
        found.extend(one.run.run_id for one in sought if one.rests)
        wake(self, sought, at_hand)

    monkeypatch.setattr(sessions.Sessions, "wake", noted)
    return found


@pytest.mark.usefixtures("_short_windows")
def test_a_window_that_moves_on_reads_nothing_back(woken: list[str]) -> None:
    collector = Collector()
    for number in range(1, 100):
        collector.take(turn(number, "talk"))
    assert collector.loops()
    assert set(woken) <= {f"{number:032x}" for number in range(1, 4)}


def test_a_session_that_rests_is_not_read_back_for_want_of_its_texts(woken: list[str]) -> None:
    collector = Collector()
    for number, word in enumerate(("lantern", "harbour", "keeper"), 1):
        collector.take(turn(number, "talk", given=f"{word} or what", answer=f"{word} it is, and no other"))
    assert woken == [f"{1:032x}"]  # with it alone there was nothing to look at
    for number in range(5, 8):
        collector.take(turn(number, "talk", given="lantern or what", answer="lantern it is, and no other"))
    (warning,) = collector.loops()
    assert (warning.type, warning.run_id, warning.count) == ("exact_repeat", f"{7:032x}", 3)


@of_any_memory
def test_model_calls_of_a_session_are_looked_at_once_they_could_matter() -> None:
    def call(number: int, tokens: int) -> Span:
        attributes = {"llm.token_count.prompt": tokens, "llm.model_name": "m", "session.id": "talk"}
        return span_of(
            {"openinference.span.kind": "LLM", **attributes},
            trace_id=f"{number:032x}",
            span_id=f"{number:016x}",
            name="chat",
            start_ns=number * SECOND,
            end_ns=number * SECOND + 5,
        )

    spans = [span for number in range(1, 5) for span in turn(number, "talk")]
    spans += [call(number, int(1_000 * 1.6 ** (number - 5))) for number in range(5, 18)]
    collector = Collector()
    for span in spans:
        collector.take([span])
    assert [warning.type for warning in collector.loops()] == ["exact_repeat"]
    waste = [warning for warning in collector.store.standing() if warning.category == WASTE]
    assert [(warning.type, warning.run_id, warning.count) for warning in waste] == [
        ("context_growth", f"{17:032x}", 13)
    ]
    assert collector.store.standing() == taken(spans).store.standing()


@of_any_memory
def test_what_looped_long_ago_in_a_session_is_not_taken_back() -> None:
    collector = Collector()
    for number in range(1, 151):
        answer = (
            "Page 7 is about the lantern."
            if number <= 5
            else f"Page {number} tells of {'abcdefgh'[number % 8] * number}."
        )
        collector.take(turn(number, "talk", answer=answer))
    (warning,) = collector.loops()
    assert (warning.run_id, warning.count) == (f"{5:032x}", 5)
    assert collector.store.runs[f"{5:032x}"].counts.warnings == 1


@of_any_memory
def test_runs_of_a_session_that_overlap_are_looked_at_one_after_the_other() -> None:
    """As a client does that has several conversations' calls under way, or sends them late."""
    collector = Collector()
    for number in range(1, 7):
        for span in looping_run(trace=f"{number:032x}")[1:4]:
            span.attributes = {**span.attributes, "session.id": "talk"}
            span.start_ns += number * SECOND
            span.end_ns += number * SECOND
            collector.take([span])
    (warning,) = collector.loops()
    assert (warning.type, warning.run_id, warning.count) == ("exact_repeat", f"{6:032x}", 6)


def test_other_thresholds_hold_for_runs_that_go_on() -> None:
    spans = looping_run()
    collector = Collector(engine=configured({}, disabled=["exact_repeat"]))
    collector.take(spans[:-1])
    assert "exact_repeat" not in {warning.type for warning in collector.loops()}
    collector.watch.use(Engine())
    collector.take(spans[-1:])
    assert collector.loops() == taken(spans).loops()


def test_loops_in_histories_are_found_by_the_thresholds_that_are_set() -> None:
    (scenario,) = (one for one in scenarios() if one.name == "openinference/openai/loop")
    collector = Collector(engine=configured({"exact_repeat": {"chain": 7, "total": 7, "row": 7}}))
    collector.take(captured_spans(scenario))
    assert collector.loops() == []


@of_any_memory
def test_a_run_that_turns_out_to_be_of_another_session_takes_its_part_of_the_loop_along() -> None:
    collector = Collector()
    for number in range(1, 4):
        collector.take(turn(number, "talk"))
    assert [warning.run_id for warning in collector.loops()] == [f"{3:032x}"]
    collector.take(turn(2, "other talk"))
    assert collector.loops() == []


def test_a_run_of_which_nothing_could_be_made_does_not_keep_its_session_waiting() -> None:
    collector = Collector()
    for number in range(1, 5):
        collector.take(turn(number, "talk"))
    collector.restart()
    del collector.store.runs[f"{2:032x}"]
    collector.take(turn(5, "talk"))
    (warning,) = collector.loops()
    assert (warning.run_id, warning.count) == (f"{5:032x}", 4)


def test_sessions_do_not_mix() -> None:
    collector = Collector()
    for number in range(1, 7):
        collector.take(turn(number, f"talk {number}"))
    assert collector.loops() == []
