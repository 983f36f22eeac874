"""Several collectors on one store find what one finds, whoever gets which span and whoever dies."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import ClassVar

import pytest

from collector.deriver.deriver import Deriver
from collector.loops import LoopWatch
from collector.pipeline.stages import Derivation, Totals
from collector.replicas.judging import Judges
from collector.replicas.ownership import owner
from collector.replicas.sweeper import Sweeper
from mappers.loops.evaluator import Engine, Evaluator
from mappers.model import Run, Span, Warning
from mappers.normalize import Normalizer
from sinks.base import Batch, RetryableError
from sinks.clickhouse import ClickHouseSink, Reader, Store
from sinks.clickhouse.instances import DEAD_AFTER_S, Instance, Instances
from sinks.clickhouse.queries.sweeping import Touched
from sinks.clickhouse.queries.warnings import WarningFilter
from tests.collector.test_loops import looping_run, taken, turn
from tests.corpus import scenarios
from tests.mappers.spans import captured_spans

SECOND = 10**9
TRACES = itertools.count(0xDEF000)


class Clock:
    """The store's instances, with a clock that tests can turn."""

    def __init__(self, store: Store) -> None:
        self._instances = Instances(store)
        self._beats: dict[str, tuple[int, int]] = {}
        self.later_ns = 0
        self.dead: set[str] = set()

    def now_ns(self) -> int:
        return self._instances.now_ns() + self.later_ns

    def beat(self, name: str, swept_to_ns: int, *, leaves: bool = False) -> None:
        self._beats[name] = 0 if leaves else self.now_ns(), swept_to_ns

    def all(self) -> list[Instance]:
        since = self.now_ns() - DEAD_AFTER_S * SECOND
        return [
            Instance(name, at > since and name not in self.dead, swept_to)
            for name, (at, swept_to) in self._beats.items()
        ]


class OwnRuns(Reader):
    """Sees what collectors of this module took; other tests share the database."""

    taken: ClassVar[set[str]] = set()

    def touched(self, since_ns: int) -> list[Touched]:
        return [run for run in super().touched(since_ns) if run.run_id in self.taken]


class Replica:
    """One of several collectors on a store."""

    def __init__(self, name: str, store: Store, clock: Clock) -> None:
        reader = OwnRuns(store)
        self._sink = ClickHouseSink(store)
        self._normalizer = Normalizer()
        deriver = Deriver(reader, max_events=10_000, watch=Judges(reader))
        self._derivation = Derivation(deriver, reader, Totals())
        self._batch = 0
        self.told: list[Warning] = []
        self.sweeper = Sweeper(
            name,
            reader,
            clock,
            lambda: LoopWatch(Engine(), reader, alone=False),
            lambda runs, watch: Deriver(reader, max_events=0, watch=watch).rederive(runs),
            self._derivation.rewritten,
            self._sink,
            lambda warnings, runs, before: self.told.extend(warnings),
        )

    def take(self, spans: Sequence[Span]) -> None:
        self._batch += 1
        OwnRuns.taken |= {span.trace_id for span in spans}
        events = [self._normalizer.normalize(span) for span in spans]
        prepared = self._derivation.prepare(
            Batch(spans=spans),
            events,
            lambda derived: None,
            number=self._batch,
            stored=self._batch - 1,
            pressed=False,
            items=1,
        )
        prepared.before_write()
        self._sink.write(prepared.batch)
        prepared.after_write()

    def sweep(self) -> int:
        self.sweeper.beat()
        return self.sweeper.sweep()


@pytest.fixture
def clock(store: Store) -> Clock:
    return Clock(store)


def replicas(store: Store, clock: Clock, *names: str) -> list[Replica]:
    found = [Replica(name, store, clock) for name in names]
    for replica in found:
        replica.sweep()
    return found


def fresh() -> str:
    return f"{next(TRACES):032x}"


def standing(store: Store, trace: str) -> list[Warning]:
    found = Reader(store).warnings("", trace)
    return sorted(found, key=lambda warning: warning.warning_id)


def as_json(run: Run) -> str:
    return json.dumps(asdict(run), default=str)


def test_spans_of_one_run_at_several_collectors_end_in_the_same_run_and_warnings(
    store: Store, clock: Clock
) -> None:
    trace = fresh()
    expected = taken(looping_run(trace=trace))
    several = replicas(store, clock, "a", "b", "c")
    chooser = random.Random(5)
    spans = looping_run(trace=trace)
    chooser.shuffle(spans)
    while spans:
        chooser.choice(several).take(spans[:3])
        del spans[:3]
        if chooser.random() < 0.3:
            chooser.choice(several).sweep()
    for replica in several * 2:
        replica.sweep()
    assert standing(store, trace) == sorted(expected.store.standing(), key=lambda warning: warning.warning_id)
    run = Reader(store).run("", trace)
    assert run is not None
    assert as_json(run) == as_json(expected.store.runs[trace])
    told = [warning for replica in several for warning in replica.told if warning.state != "retracted"]
    assert {warning.warning_id for warning in told} == {
        warning.warning_id for warning in expected.store.standing()
    }


def test_only_its_owner_looks_at_a_run_and_only_when_something_came(store: Store, clock: Clock) -> None:
    a, b = replicas(store, clock, "a", "b")
    trace = fresh()
    a.take(looping_run(trace=trace))
    swept = {replica.sweeper.name: replica.sweep() for replica in (a, b)}
    other = {"a": "b", "b": "a"}[owner(trace, ["a", "b"])]
    assert swept[other] == 0
    assert swept[owner(trace, ["a", "b"])] >= 1
    assert a.sweep() + b.sweep() <= 1  # what was written again is seen once more
    assert a.sweep() + b.sweep() == 0
    b.take(looping_run(trace=trace)[:2])
    assert a.sweep() + b.sweep() >= 1


def test_what_a_dead_collector_owned_is_taken_over(store: Store, clock: Clock) -> None:
    a, _ = replicas(store, clock, "a", "b")
    mine = next(trace for _ in range(64) if owner(trace := fresh(), ["a", "b"]) == "b")
    a.take(looping_run(trace=mine))
    a.sweep()
    assert standing(store, mine) == []  # b owns it, and is not heard of again
    clock.later_ns += (DEAD_AFTER_S + 1) * SECOND
    a.sweep()
    assert standing(store, mine) != []


def test_a_collector_that_starts_looks_at_what_nobody_looked_at(store: Store, clock: Clock) -> None:
    (a,) = replicas(store, clock, "a")
    trace = fresh()
    a.take(looping_run(trace=trace))
    clock.later_ns += 300 * SECOND
    replicas(store, clock, "b")
    assert standing(store, trace) != []


def test_a_session_is_looked_at_by_one_collector(store: Store, clock: Clock) -> None:
    a, b = replicas(store, clock, "a", "b")
    first = 0x7000
    for number in range(first, first + 6):
        (a, b)[number % 2].take(turn(number, "a talk with several"))
        (b, a)[number % 2].sweep()
    for replica in (a, b, a, b):
        replica.sweep()
    page = Reader(store).warning_page(WarningFilter(sessions=["a talk with several"]), 10, None)
    assert [(warning.type, warning.run_id, warning.count) for warning in page.warnings] == [
        ("exact_repeat", f"{first + 5:032x}", 6)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_collectors_that_come_and_go_lose_no_part_of_a_session(
    store: Store, clock: Clock, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.replicas.sweeper.OVERLAP_NS", 0)
    several = replicas(store, clock, "a", "b", "c")
    chooser = random.Random(seed)
    first = 0x7100 + 0x40 * seed
    for number in range(first, first + 16):
        chooser.choice(several).take(turn(number, f"long talk {seed}"))
        if chooser.random() < 0.3:
            clock.dead = {chooser.choice(several).sweeper.name}
        for replica in several:
            if replica.sweeper.name not in clock.dead and chooser.random() < 0.6:
                replica.sweep()
    clock.dead.clear()
    for replica in several * 3:
        replica.sweep()
    page = Reader(store).warning_page(WarningFilter(sessions=[f"long talk {seed}"]), 10, None)
    expected = taken(
        [span for number in range(first, first + 16) for span in turn(number, f"long talk {seed}")]
    )
    assert [(one.type, one.run_id, one.count) for one in page.warnings] == [
        (one.type, one.run_id, one.count) for one in expected.loops()
    ]


def test_a_conversation_is_carried_by_its_latest_call_whoever_looks_at_it(store: Store, clock: Clock) -> None:
    (scenario,) = (one for one in scenarios() if one.name == "openinference/openai/loop")
    spans = captured_spans(scenario)
    latest = max(spans, key=lambda span: span.start_ns).trace_id
    several = replicas(store, clock, "a", "b", "c")
    for number, span in enumerate(spans):
        several[number % 3].take([span])
        several[(number + 1) % 3].sweep()
    for replica in several * 3:
        replica.sweep()
    assert [warning.type for warning in standing(store, latest)] == ["exact_repeat"]
    others = {span.trace_id for span in spans} - {latest}
    assert not any(standing(store, trace) for trace in others)


def test_what_was_replayed_goes_on_from_there(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (a,) = replicas(store, clock, "a")
    fed = []
    feed = Evaluator.feed
    monkeypatch.setattr(Evaluator, "feed", lambda self, step: (fed.append(step.id), feed(self, step)))
    spans = looping_run(trace=fresh())
    a.take(spans[:-4])
    a.sweep()
    first = len(fed)
    a.take(spans[-4:])
    a.sweep()
    assert first > len(fed) - first == 4


def test_who_stops_is_not_missed_first(store: Store, clock: Clock) -> None:
    several = replicas(store, clock, "a", "b")
    traces = [fresh() for _ in range(8)]
    several[0].sweeper.close()
    for trace in traces:
        several[1].take(looping_run(trace=trace))
    several[1].sweep()
    assert all(standing(store, trace) for trace in traces)


def test_who_stops_without_time_leaves_its_runs_to_the_others(store: Store, clock: Clock) -> None:
    a, b = replicas(store, clock, "a", "b")
    mine = next(trace for _ in range(64) if owner(trace := fresh(), ["a", "b"]) == "a")
    a.take(looping_run(trace=mine))
    a.sweeper.close(within_s=0)
    assert standing(store, mine) == []
    b.sweep()
    assert standing(store, mine) != []


def test_what_a_sweep_could_not_store_is_looked_at_again(store: Store, clock: Clock) -> None:
    (a,) = replicas(store, clock, "a")
    trace = fresh()
    a.take(looping_run(trace=trace))

    def fails(sink: ClickHouseSink, batch: Batch) -> None:
        raise RetryableError("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClickHouseSink, "write", fails)
        with pytest.raises(RetryableError):
            a.sweep()
    assert a.sweep() >= 1
    assert standing(store, trace) != []


def test_collectors_know_each_other_by_their_beats(store: Store) -> None:
    instances = Instances(store)
    now_ns = instances.now_ns()
    instances.beat("one", now_ns)
    instances.beat("one", now_ns + 1_000)
    instances.beat("two", 0)
    known = {instance.name: instance for instance in instances.all()}
    assert known["one"] == Instance("one", True, now_ns // 1_000 * 1_000 + 1_000)
    assert known["two"] == Instance("two", True, 0)


def test_when_one_goes_only_its_own_things_move() -> None:
    things = [f"{number:032x}" for number in range(300)]
    before = {thing: owner(thing, ["a", "b", "c"]) for thing in things}
    after = {thing: owner(thing, ["c", "a"]) for thing in things}
    assert all(after[thing] == name for thing, name in before.items() if name != "b")
    assert min(list(before.values()).count(name) for name in "abc") > 60
