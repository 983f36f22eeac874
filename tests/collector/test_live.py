"""Who listens, and what they are told when they are slow, away, or nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collector.live import (
    FOLLOWED_S,
    MOST_KEPT,
    MOST_LISTENERS,
    MOST_OF_A_BATCH,
    MOST_WAITING,
    Interest,
    Live,
    TooManyListenersError,
)
from collector.query import read_text
from mappers.model import Event, Kind, Run, RunStatus, Warning
from sinks.base import Batch


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def batch(run_id: str = "r", status: str = RunStatus.RUNNING, events: int = 0, **fields: Any) -> Batch:
    run = Run(run_id=run_id, status=status, start_ns=1, end_ns=2, **fields)
    told = [
        Event(run_id=run_id, span_id=f"s{number}", kind=Kind.LLM, name="call", start_ns=1, end_ns=2)
        for number in range(events)
    ]
    return Batch(events=told, runs=[run])


def heard(listener: Any) -> list[str]:
    return [word.name for word in listener.take()[0]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(clock: Clock) -> Live:
    return Live(clock, lambda: 3)


def listen(live: Live, after: str = "", **interest: Any) -> Any:
    return live.listen(Interest("", **interest), lambda: None, after)


def test_a_run_is_told_as_it_begins_goes_on_and_ends(live: Live, clock: Clock) -> None:
    listener = listen(live)
    live.written(batch())
    assert heard(listener) == ["run.started"]
    clock.now += 1
    live.written(batch())
    assert heard(listener) == ["run.updated"]
    live.written(batch(status=RunStatus.COMPLETED, events=1))
    assert heard(listener) == ["event", "event", "run.finished"]


def test_updates_of_a_run_are_told_twice_a_second_at_most(live: Live, clock: Clock) -> None:
    listener = listen(live)
    live.written(batch())
    assert heard(listener) == ["run.started"]
    for number in range(10):
        live.written(batch(name=str(number)))
    assert heard(listener) == []
    assert listener.waits
    live.written(batch("other"))
    ((other,), _) = listener.take()
    assert listener.resumes_after(other.number) < other.number - 1, "who comes back hears what was held back"
    clock.now += 0.6
    (word,) = listener.take()[0]
    assert listener.resumes_after(word.number) == word.number
    assert word.run.name == "9"


def test_a_slow_listener_is_told_how_much_was_left_out(live: Live) -> None:
    listener = listen(live, types=("event",))
    live.written(batch(events=400))
    live.written(batch(events=400))
    words, gap = listener.take()
    assert len(words) == MOST_WAITING
    assert gap.missed == 1600 - MOST_WAITING
    assert (gap.first, gap.last) == (words[-1].number + 1, words[-1].number + gap.missed)
    live.written(batch(events=1))
    words, gap = listener.take()
    assert (len(words), gap) == (2, None)


def test_of_a_batch_only_so_much_is_told(live: Live) -> None:
    listener, other = listen(live, types=("event",)), listen(live, types=("run",))
    live.written(batch(events=MOST_OF_A_BATCH))
    _, gap = listener.take()
    assert (gap.last - gap.first + 1, gap.missed) == (2 * MOST_OF_A_BATCH - MOST_WAITING, None)
    assert other.take()[1] is None


def test_who_comes_back_hears_what_is_kept_and_what_is_not(live: Live) -> None:
    first = listen(live, types=("run",))
    live.written(batch("a"))
    last = first.take()[0][-1].number
    live.leave(first)
    live.written(batch("b"))
    words, gap = listen(live, live.id_of(last), types=("run",)).take()
    assert ([word.run.run_id for word in words], gap) == (["b"], None)
    listen(live)  # entries are told to it, and fill what is kept
    for _ in range(MOST_KEPT // 900 + 1):
        live.written(batch("c", events=450))
    assert listen(live, f"{live.id}-{'9' * 5000}").take()[1] is not None
    words, gap = listen(live, live.id_of(last), types=("run",)).take()
    assert gap.first == last + 1
    assert gap.last > last + 1


def test_nothing_is_kept_when_nobody_has_listened_for_a_while(live: Live, clock: Clock) -> None:
    live.written(batch("a"))
    listener = listen(live)
    live.written(batch("b"))
    last = listener.take()[0][-1].number
    live.leave(listener)
    clock.now += FOLLOWED_S + 1
    live.written(batch("c"))
    live.written(batch("d"))
    words, gap = listen(live, live.id_of(last)).take()
    assert words == []
    assert gap is not None, "what was not followed is a gap"


def test_batches_cost_nothing_when_nobody_listens(live: Live) -> None:
    class Untouched:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    live.written(Untouched())  # type: ignore[arg-type]  # fails if it is looked at


def test_entries_cost_nothing_when_nobody_wants_them(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[Event] = []
    monkeypatch.setattr("collector.live.entries_of", lambda event: entries.append(event) or ())
    runs = listen(live, types=("run", "warning"))
    live.written(batch(events=5))
    assert (heard(runs), entries) == (["run.started"], [])
    listen(live)
    live.written(batch(events=5))
    assert len(entries) == 5


def test_a_batch_that_can_not_be_told_is_no_fault_of_the_pipeline(live: Live) -> None:
    listener = listen(live)
    broken = batch()
    broken.runs = [replace(broken.runs[0], start_ns=10**30)]
    live.written(broken)
    live.written(batch("next"))
    assert heard(listener) == ["run.started"]


@pytest.mark.parametrize(
    ("query", "fields", "fits"),
    [
        ("project:shop", {"project": "shop"}, True),
        ("project:sh*", {"project": "shop"}, True),
        ("project:*", {"project": ""}, False),
        ("-project:shop", {"project": "shop"}, False),
        ("tool:a,b", {"tools": ["c", "b"]}, True),
        ("tool:SEARCH", {"tools": ["search"]}, False),
        ("error:TIME", {"error_message": "a timeout"}, True),
        ("cost>0.05", {"cost_usd": None}, False),
        ("-cost:*", {"cost_usd": None}, True),
        ("dur>1ms", {"status": RunStatus.RUNNING}, False),
        ("(project:a OR project:b) status:running", {"project": "b"}, True),
        ("warn:exact_repeat", {"top_warning": "exact_repeat", "top_severity": "warning"}, True),
        ("warn:exact_repeat", {}, False),
    ],
)
def test_filters_choose_as_the_store_does(live: Live, query: str, fields: dict[str, Any], fits: bool) -> None:
    listener = listen(live, where=read_text(query))
    live.written(batch(**fields))
    assert bool(heard(listener)) is fits


def test_a_warning_that_is_retracted_stands_no_more(live: Live, clock: Clock) -> None:
    listener = listen(live, types=("run",), where=read_text("warning:ping_pong"))
    finding = Warning(
        warning_id="w",
        run_id="r",
        type="ping_pong",
        category="loop",
        severity="warning",
        state="active",
        count=3,
        message="again",
    )
    told = batch()
    told.warnings = [finding]
    live.written(told)
    assert heard(listener) == ["run.started"]
    clock.now += 1
    told.warnings = [replace(finding, state="retracted")]
    live.written(told)
    assert heard(listener) == []


def test_there_are_only_so_many_listeners_and_none_after_the_end(live: Live) -> None:
    listeners = [listen(live) for _ in range(MOST_LISTENERS)]
    with pytest.raises(TooManyListenersError):
        listen(live)
    live.leave(listeners.pop())
    listen(live)
    live.end()
    assert all(listener.closed for listener in listeners)
    with pytest.raises(TooManyListenersError):
        listen(live)
