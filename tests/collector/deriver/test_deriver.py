from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import pytest

from collector.deriver import deriver as module
from collector.deriver.derived import Derived
from collector.deriver.deriver import Deriver
from collector.deriver.pace import Pace
from collector.loops import LoopWatch
from mappers.loops.evaluator import Engine
from mappers.model import Event, Kind, RunStatus
from sinks.base import RetryableError
from tests.collector import stored


class Stored:
    """Events as a store gives them back."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str, int], Event] = {}
        self.rows: set[str] = set()
        self.asked: list[str] = []

    def write(self, derived: Derived) -> None:
        self.rows |= {run.run_id for run in derived.runs}
        for event in [*derived.resettled, *derived.events]:
            self.events[event.run_id, event.span_id, event.seq] = stored.copied(event)

    def events_of(self, tenant: str, run_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        self.asked += run_ids
        found: dict[str, list[Event]] = {}
        for event in self.events.values():
            if event.run_id in run_ids:
                found.setdefault(event.run_id, []).append(stored.copied(event))
        return found

    def runs_with_rows(self, tenant: str, run_ids: Sequence[str]) -> set[str]:
        return self.rows & set(run_ids)

    def newest_call_ns(self) -> int:
        return max((event.end_ns for event in self.events.values()), default=0)

    def runs_with_twins(self, tenant: str, calls: Sequence[Event]) -> Sequence[str]:
        return sorted({event.run_id for event in self.events.values() if event.kind == Kind.LLM})


def event(run: int, span: int, parent: int = 0, **fields: Any) -> Event:
    return Event(
        run_id=f"{run:032x}",
        trace_id=f"{run:032x}",
        span_id=f"{span:016x}",
        parent_span_id=f"{parent:016x}" if parent else "",
        is_root=not parent,
        start_ns=span * 1000,
        end_ns=span * 1000 + 500,
        name=f"span {span}",
        **fields,
    )


def llm(run: int, span: int, tokens: int) -> Event:
    return event(run, span, 1, kind=Kind.LLM, input_tokens=tokens, output_tokens=1)


def test_a_late_root_names_the_run() -> None:
    store = Stored()
    deriver = Deriver(store, max_events=100)
    first = deriver.derive([llm(1, 2, 10)], batch=1, stored=0)
    assert [(run.status, run.has_root) for run in first.runs] == [(RunStatus.RUNNING, False)]
    second = deriver.derive([event(1, 1, kind=Kind.AGENT)], batch=2, stored=1)
    assert [(run.name, run.status) for run in second.runs] == [("span 1", RunStatus.COMPLETED)]
    assert second.runs[0].usage.input == 10
    assert (first.new_runs, second.new_runs) == (1, 0)


def test_what_is_sent_again_counts_once() -> None:
    deriver = Deriver(Stored(), max_events=100)
    first = deriver.derive([llm(1, 2, 10), llm(1, 2, 10)], batch=1, stored=0)
    assert (first.new_spans, first.new_events, len(first.events)) == (1, 1, 1)
    again = deriver.derive([llm(1, 2, 10)], batch=2, stored=1)
    assert (again.new_spans, again.new_events, again.new_runs) == (0, 0, 0)
    assert again.runs[0].usage.input == 10


@pytest.mark.parametrize("rows_tell", [False, True])
def test_a_run_that_left_the_memory_is_read_back(rows_tell: bool) -> None:
    store = Stored()
    deriver = Deriver(store, max_events=2, rows_tell=rows_tell)
    for number in range(1, 6):
        store.write(deriver.derive([llm(number, 2, 10), llm(number, 3, 5)], batch=number, stored=number - 1))
    derived = deriver.derive([event(1, 1)], batch=6, stored=5)
    assert derived.runs[0].usage.input == 15
    assert derived.new_runs == 0
    assert derived.new_spans == 1


@pytest.mark.parametrize("characters", [10, 5_000])
def test_long_texts_that_are_kept_make_runs_leave_the_memory_sooner(characters: int) -> None:
    store = Stored()
    deriver = Deriver(store, max_events=8)
    for number in range(1, 7):
        told = event(
            number, 2, 1, kind=Kind.TOOL, source="log", input="i" * characters, output="o" * characters
        )
        store.write(deriver.derive([told], batch=number, stored=number - 1))
    store.asked.clear()
    derived = deriver.derive([event(number, 1) for number in range(1, 7)], batch=7, stored=6)
    assert len(derived.runs) == 6
    assert bool(store.asked) == (characters > 1_000)
    store.asked.clear()
    deriver.forget([("", f"{number:032x}") for number in range(1, 7)])
    for number in (8, 9):  # nothing of what is gone weighs any more
        deriver.derive([event(8, number)], batch=number, stored=number - 1)
    assert store.asked == [f"{8:032x}"]


def test_where_rows_tell_events_are_looked_for_only_of_runs_that_have_one_or_are_owed() -> None:
    store = Stored()
    store.write(Deriver(store, max_events=100).derive([llm(1, 2, 10)], batch=1, stored=0))
    store.write(Deriver(store, max_events=100).derive([llm(2, 2, 10)], batch=1, stored=0))
    store.rows.discard(f"{2:032x}")  # the process ended before it was settled
    store.asked.clear()
    deriver = Deriver(store, max_events=100, rows_tell=True)
    deriver.owe([("", f"{2:032x}")])
    derived = deriver.derive([llm(1, 3, 5), llm(3, 2, 10)], batch=1, stored=0)
    assert sorted(store.asked) == [f"{1:032x}", f"{2:032x}"]
    assert [run.usage.input for run in sorted(derived.runs, key=lambda run: run.run_id)] == [15, 10, 10]


def test_a_run_that_can_not_be_assembled_has_a_row_by_which_its_events_are_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> Any:
        raise ArithmeticError

    store = Stored()
    deriver = Deriver(store, max_events=0, rows_tell=True)
    with monkeypatch.context() as patched:
        patched.setattr(module, "assemble", fails)
        first = deriver.derive([llm(1, 2, 10), llm(1, 3, 5)], batch=1, stored=0)
        store.write(first)
        second = deriver.derive([event(1, 1, status="error", error_type="Boom")], batch=2, stored=0)
        store.write(second)
    assert "can not be assembled" in caplog.text
    assert {vars(line)["trace_id"] for line in caplog.records} == {first.runs[0].run_id}
    assert [(run.name, run.status, run.counts.spans) for run in first.runs] == [("span 2", "running", 2)]
    assert [(run.name, run.status, run.error_type) for run in second.runs] == [("span 1", "failed", "Boom")]
    assert [(run.usage.input, run.cost_usd) for run in first.runs] == [(None, None)]
    assert (first.new_runs, second.new_runs) == (1, 0)

    store.write(deriver.derive([llm(2, 2, 10)], batch=3, stored=2))  # the first one leaves the memory
    [run] = deriver.derive([llm(1, 4, 1)], batch=4, stored=3).runs
    assert (run.usage.input, run.counts.spans) == (16, 4)


def test_a_run_that_could_be_assembled_before_keeps_the_row_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Stored()
    for most in (0, 100):  # it has left the memory meanwhile, or not
        run = 10 + most
        deriver = Deriver(store, max_events=most, rows_tell=True)
        store.write(deriver.derive([llm(run, 2, 10)], batch=1, stored=0))
        store.write(deriver.derive([llm(run + 1, 2, 10)], batch=2, stored=1))
        with monkeypatch.context() as patched:
            patched.setattr(module, "assemble", lambda *_: 1 / 0)
            assert deriver.derive([llm(run, 3, 5)], batch=3, stored=2).runs == []
        assert deriver.derive([llm(run, 4, 1)], batch=4, stored=3).runs[0].usage.input >= 15


def test_parts_whose_call_comes_late_are_found_though_they_have_no_row() -> None:
    store = Stored()
    deriver = Deriver(store, max_events=0, rows_tell=True)
    part = event(1, 5, 2, part="details", kind=Kind.LLM, source="log")
    store.write(deriver.derive([part], batch=1, stored=0))
    store.write(deriver.derive([llm(2, 2, 10)], batch=2, stored=1))
    store.asked.clear()
    deriver.derive([llm(1, 2, 10)], batch=3, stored=2)
    assert f"{1:032x}" in store.asked


def test_a_run_whose_rows_are_on_their_way_stays_in_memory() -> None:
    store = Stored()
    deriver = Deriver(store, max_events=0)
    deriver.derive([llm(1, 2, 10)], batch=1, stored=0)
    deriver.derive([llm(2, 2, 10)], batch=2, stored=0)
    store.asked.clear()
    derived = deriver.derive([llm(1, 3, 5)], batch=3, stored=0)
    assert store.asked == []
    assert derived.runs[0].usage.input == 15


def test_restart_and_memory_give_the_same_run() -> None:
    store = Stored()
    deriver = Deriver(store, max_events=1000)
    tool = event(1, 4, 2, kind=Kind.HANDOFF, tool="transfer_to_billing", handoff_to="billing")
    batches = [[llm(1, 3, 10)], [tool], [event(1, 2, 1, kind=Kind.AGENT, agent="triage")], [event(1, 1)]]
    for number, events in enumerate(batches, 1):
        kept = deriver.derive(deepcopy(events), batch=number, stored=number - 1)
        store.write(kept)
        fresh = Deriver(store, max_events=1000).derive(deepcopy(events), batch=1, stored=0)
        assert fresh.runs == kept.runs
    assert store.events[f"{1:032x}", f"{4:016x}", 0].handoff_from == "triage"


class Clock:
    """Settling takes a tenth of a second of it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.1
        return self.now_s


def test_a_run_that_took_long_is_settled_later_with_all_that_came() -> None:
    clock = Clock()
    store, number = Stored(), 0
    deriver = Deriver(store, max_events=100, pace=Pace(clock))

    def derive(*events: Event, pressed: bool = False) -> Derived:
        nonlocal number
        number += 1
        derived = deriver.derive(list(events), batch=number, stored=number - 1, pressed=pressed)
        store.write(derived)
        return derived

    assert [run.usage.input for run in derive(llm(1, 2, 10)).runs] == [10]
    assert deriver.due_in_s() == float("inf")
    waiting = derive(llm(1, 3, 5), pressed=True)
    assert (waiting.runs, waiting.new_events, len(waiting.events)) == ([], 1, 1)
    assert deriver.due_in_s() <= 1
    assert [run.usage.input for run in derive(llm(2, 2, 7), pressed=True).runs] == [7]
    clock.now_s += 2
    assert deriver.due_in_s() == 0
    assert [run.usage.input for run in derive().runs] == [15]
    assert derive().runs == []
    derive(llm(1, 4, 1), pressed=True)
    deriver.hurry()
    assert deriver.due_in_s() == 0
    assert [run.usage.input for run in derive().runs] == [16]


def test_a_run_that_was_not_settled_when_the_process_ended_is_read_back() -> None:
    store = Stored()
    store.write(Deriver(store, max_events=100).derive([llm(1, 2, 10)], batch=1, stored=0))
    deriver = Deriver(store, max_events=100, pace=Pace())
    deriver.owe([("", f"{1:032x}")])
    assert deriver.due_in_s() == 0
    derived = deriver.derive([], batch=1, stored=0)
    assert [run.usage.input for run in derived.runs] == [10]
    assert (derived.new_spans, derived.new_runs) == (0, 0)


def test_what_a_failing_store_interrupted_is_counted_once() -> None:
    class Failing(LoopWatch):
        fails = True

        def watch(self, *args: Any) -> Any:
            if self.fails:
                raise RetryableError("away")
            return super().watch(*args)

    store = stored.Stored()
    watch = Failing(Engine(), store)
    deriver = Deriver(store, max_events=100, watch=watch)
    with pytest.raises(RetryableError):
        deriver.derive([llm(1, 2, 10)], batch=1, stored=0)
    watch.fails = False
    derived = deriver.derive([llm(1, 2, 10)], batch=1, stored=0)
    assert (derived.new_spans, derived.new_events, derived.new_runs) == (1, 1, 1)
    assert (len(derived.runs), len(derived.events)) == (1, 1)
