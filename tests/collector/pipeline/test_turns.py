"""A backlog and what comes since share the store: nothing waits for all before it, is lost, or is written twice."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import collector.pipeline.breaker
import collector.pipeline.gathering
import collector.pipeline.patience
import collector.pipeline.pipeline
import collector.pipeline.turns
from collector.journal import SINK_CURSOR, Header, Journal, Stretch
from collector.pipeline.tombstones import Refusing, Tombstones
from collector.pipeline.turns import BACKLOG_BATCHES, NEW_SHARE
from sinks.base import Batch, RetryableError
from tests.collector.pipeline.test_pipeline import Rows, started
from tests.waiting import PATIENCE_S, until

MOST = 2
"""Items of a full batch."""
MUCH = MOST * BACKLOG_BATCHES


def body(number: int, end: int = 9) -> bytes:
    """A request with one span."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=(number // 3 + 1).to_bytes(16, "big"),
        span_id=(number + 1).to_bytes(8, "big"),
        start_time_unix_nano=5,
        end_time_unix_nano=end,
    )
    return request.SerializeToString()


def number_of(span_id: str) -> int:
    return int(span_id, 16) - 1


class Store:
    """Keeps rows as a store does, and dies when it is told."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.spans: dict[int, int] = {}
        """Ends of spans, by their numbers."""
        self.written: list[list[int]] = []
        """Numbers of the spans of each batch."""
        self.tokens: dict[str, set[int]] = {}
        self.wrote: Callable[[], None] = lambda: None
        self.dies_before: Callable[[], bool] = lambda: False
        self.dies_after: Callable[[], bool] = lambda: False

    def write(self, batch: Batch) -> None:
        if self.dies_before():
            raise RetryableError("killed before it was stored")
        numbers = [number_of(span.span_id) for span in batch.spans]
        if numbers:
            assert self.tokens.setdefault(batch.token, set(numbers)) == set(numbers), "one token, one content"
            self.written.append(numbers)
        self.spans |= {number_of(span.span_id): span.end_ns for span in batch.spans}
        for event in batch.events:
            self.rows.events[event.run_id, event.span_id, event.seq] = event
        self.rows.rows |= {run.run_id for run in batch.runs}
        if self.dies_after():
            raise RetryableError("killed after it was stored")
        self.wrote()

    def close(self) -> None:
        pass


def append(journal: Journal, *bodies: bytes) -> None:
    done = threading.Semaphore(0)
    for one in bodies:
        journal.append(Header(0, items=1), one, lambda _: done.release())
    for _ in bodies:
        assert done.acquire(timeout=PATIENCE_S)


def left_behind(directory: Path, *bodies: bytes) -> Journal:
    """A journal in which an earlier process left these."""
    journal = opened(directory)
    append(journal, *bodies)
    journal.close()
    return opened(directory)


def opened(directory: Path, **options: Any) -> Journal:
    journal = Journal(directory, ack="write", segment_bytes=800, **options)
    journal.open()
    return journal


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector.pipeline.patience, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(collector.pipeline.breaker, "PROBE_S", (0.0, 0.01))
    monkeypatch.setattr(collector.pipeline.pipeline, "IDLE_WAIT_S", 0.01)
    monkeypatch.setattr(collector.pipeline.gathering, "IDLE_WAIT_S", 0.01)
    monkeypatch.setattr(collector.pipeline.turns, "NEW_EVERY_S", 0)


@dataclass
class Death:
    """When a process dies: at its so manieth batch, before that is stored or right after."""

    batch: int
    is_stored: bool
    arrives: int = 0
    """Records that come while it lives, one after each batch."""


@dataclass
class Lives:
    """Processes on one journal, one after the other, and the store that outlives them."""

    base: Path
    store: Store = field(default_factory=Store)
    numbers: Iterator[int] = field(default_factory=count)
    appended: int = 0
    life: int = 0

    def take(self, journal: Journal, records: int) -> None:
        append(journal, *(body(next(self.numbers)) for _ in range(records)))
        self.appended += records

    def live(self, death: Death | None, *, first: int) -> None:
        """One process, from its start to its death, or until all is stored. `first` records come while none lives."""
        earlier = opened(self.base / str(self.life) / "traces")
        self.take(earlier, first)
        earlier.close()
        journal = opened(earlier.directory)
        found = journal.next_items
        cursor = journal.cursor(SINK_CURSOR)
        replayed = found - cursor.items
        arriving = [death.arrives if death else MUCH + 3]
        batches = count(1)
        copied, survives, deciding = threading.Event(), threading.Event(), threading.Lock()

        def arrive() -> None:
            if arriving[0]:
                arriving[0] -= 1
                self.take(journal, 1)

        def dies() -> bool:
            # What a process that is killed leaves is what the files hold at this moment.
            shutil.copytree(journal.directory, self.base / str(self.life + 1) / "traces")
            copied.set()
            return True

        def is_at(is_stored: bool) -> bool:
            with deciding:
                if copied.is_set():
                    return True
                if death is None or death.is_stored is not is_stored or survives.is_set():
                    return False
                return next(batches) == death.batch and dies()

        self.store.wrote = arrive
        self.store.dies_before = lambda: is_at(False)
        self.store.dies_after = lambda: is_at(True)
        pipeline, flow, _ = started(
            journal, self.store, self.base / str(self.life), rows=self.store.rows, max_items=MOST
        )
        try:
            until(lambda: copied.is_set() or not pipeline.waiting_records)
            with deciding:
                survives.set()
            if copied.is_set():
                pipeline.drain(0)
            else:
                assert pipeline.drain(PATIENCE_S)
                assert flow.stored + flow.duplicates == replayed + journal.next_items - found
                assert pipeline.settled_items == cursor.items == journal.next_items == self.appended
                assert (cursor.ahead, pipeline.waiting_records) == (None, 0)
                shutil.copytree(journal.directory, self.base / str(self.life + 1) / "traces")
        finally:
            journal.close()
        self.life += 1


DEATHS = st.builds(
    Death, batch=st.integers(1, 14), is_stored=st.booleans(), arrives=st.sampled_from([0, 3, MUCH + 5])
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lives=st.lists(st.tuples(DEATHS, st.sampled_from([0, 1, MUCH, 2 * MUCH])), max_size=4))
def test_T1_all_is_stored_once_whenever_a_process_that_shares_is_killed(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[Death, int]]
) -> None:
    base = tmp_path_factory.mktemp("lives")
    (base / "0").mkdir()
    told = Lives(base)
    for death, first in lives:
        told.live(death, first=first)
    told.live(None, first=MUCH)
    assert sorted(told.store.spans) == list(range(told.appended))
    # Written more than once is at most what was being stored at a death.
    times = Counter(number for numbers in told.store.written for number in numbers)
    assert sum(times.values()) - len(times) <= len(lives) * MOST
    assert set(times.values()) <= set(range(1, len(lives) + 2))


def test_what_is_new_does_not_wait_for_a_backlog(tmp_path: Path) -> None:
    old = 40 * MOST
    journal = left_behind(tmp_path / "traces", *map(body, range(old)))
    store = Store()
    new = iter(range(old, old + 24))

    def arrive() -> None:
        if (number := next(new, None)) is not None:
            append(journal, body(number))

    store.wrote = arrive
    pipeline, _, _ = started(journal, store, tmp_path, rows=store.rows, max_items=MOST)
    assert pipeline.drain(PATIENCE_S)
    journal.close()
    order = [number for numbers in store.written for number in numbers]
    assert sorted(order) == list(range(old + 24))
    first_new = order.index(old)
    assert first_new <= (BACKLOG_BATCHES + 2) * MOST
    until_old_ends = order[first_new : order.index(old - 1)]
    share = sum(number >= old for number in until_old_ends) / len(until_old_ends)
    assert NEW_SHARE - 0.07 <= share <= NEW_SHARE + 0.07
    for course in ([n for n in order if n < old], [n for n in order if n >= old]):
        assert course == sorted(course)


def test_little_that_waits_is_stored_in_its_order(tmp_path: Path) -> None:
    journal = left_behind(tmp_path / "traces", *map(body, range(MUCH - 1)))
    store = Store()
    pipeline, _, _ = started(journal, store, tmp_path, rows=store.rows, max_items=MOST)
    until(lambda: pipeline.settled_items == MUCH - 1)
    cursor = journal.cursor(SINK_CURSOR)
    append(journal, body(MUCH - 1))
    assert pipeline.drain(PATIENCE_S)
    journal.close()
    assert cursor.ahead is None
    assert [number for numbers in store.written for number in numbers] == list(range(MUCH))


def test_who_sends_more_than_can_be_stored_is_served_in_order(tmp_path: Path) -> None:
    journal = opened(tmp_path / "traces")
    append(journal, body(0))
    store = Store()
    new = iter(range(1, 12 * MUCH))

    def arrive() -> None:
        for number in islice(new, 2 * MOST):
            append(journal, body(number))

    store.wrote = arrive
    pipeline, _, _ = started(journal, store, tmp_path, rows=store.rows, max_items=MOST)
    until(lambda: pipeline.settled_items == 12 * MUCH)
    assert pipeline.drain(PATIENCE_S)
    journal.close()
    assert [number for numbers in store.written for number in numbers] == list(range(12 * MUCH))


def test_what_came_since_an_outage_of_the_store_does_not_wait_for_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.pipeline.patience, "OUTAGE_S", 0.01)
    journal = opened(tmp_path / "traces")
    append(journal, body(0))
    store = Store()
    is_away = threading.Event()
    is_away.set()
    store.dies_before = is_away.is_set
    pipeline, _, _ = started(journal, store, tmp_path, rows=store.rows, max_items=MOST)
    until(lambda: pipeline.patience.last_error != "")
    old = 20 * MOST
    append(journal, *map(body, range(1, old)))
    new = iter(range(old, old + 2))

    def arrive() -> None:
        if len(store.written) > 2 and (number := next(new, None)) is not None:
            append(journal, body(number))

    store.wrote = arrive
    is_away.clear()
    assert pipeline.drain(PATIENCE_S)
    journal.close()
    order = [number for numbers in store.written for number in numbers]
    assert sorted(order) == list(range(old + 2))
    assert order.index(old + 1) < order.index(old - 1)


def test_a_span_that_grew_stays_as_it_was_sent_last(tmp_path: Path) -> None:
    """Its earlier versions lie in the backlog and come to the store after the last one."""
    grown = 10 * MOST
    versions = (body(grown if number % 4 == 3 else number, end=10 + number) for number in range(10 * MOST))
    journal = left_behind(tmp_path / "traces", *versions)
    store = Store()
    sink = Refusing(store, Tombstones())
    came = iter([body(grown, end=1000)])

    def arrive() -> None:
        if (last := next(came, None)) is not None:
            append(journal, last)

    store.wrote = arrive
    pipeline, flow, _ = started(journal, sink, tmp_path, rows=store.rows, max_items=MOST)
    assert pipeline.drain(PATIENCE_S)
    journal.close()
    order = [number for numbers in store.written for number in numbers]
    assert store.spans[grown] == 1000
    assert order.index(grown) < order.index(10 * MOST - 2), "it was not the last that was stored"
    assert [event.end_ns for event in store.rows.events.values() if number_of(event.span_id) == grown] == [
        1000
    ]
    assert (flow.stored, flow.duplicates) == (len(store.spans), 10 * MOST + 1 - len(store.spans))


def test_with_ack_sink_what_is_stored_ahead_is_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "traces", ack="sink")
    journal.open()
    ended: list[int] = []
    for number in range(6):
        journal.append(Header(1, items=1), b"%d" % number, lambda _, number=number: ended.append(number))
    until(lambda: journal.next_sequence == 7)
    with journal.accounting:
        journal.settled(4, 6)
        journal.settled(1, 3)
    assert ended == [3, 4, 0, 1]
    assert journal.acknowledged_items == 4
    with journal.accounting:
        journal.settled(3, 4)
        journal.settled(6, 7)
    assert ended == [3, 4, 0, 1, 2, 5]
    journal.close()


@pytest.mark.parametrize(
    "gone", [range(1), range(2, 4), range(2, 6), range(4, 6), range(4, 8), range(8)], ids=str
)
def test_T8_segments_that_are_gone_cost_what_was_in_them(tmp_path: Path, gone: range) -> None:
    """The first eight of ten hold a backlog of which nothing is stored, up to the middle of the fifth; what is stored
    ahead of it ends in the seventh."""
    journal = opened(tmp_path / "traces")
    cursor = journal.cursor(SINK_CURSOR)
    places = [journal.end]
    while len(journal.ends()) < 11:
        append(journal, body(len(places) - 1))
        places.append(journal.end)
    each = next(number for number, place in enumerate(places) if place.segment > 1) - 1
    begin, end = 4 * each + each // 2, 6 * each + each // 2
    cursor.advance(places[0], Stretch(places[begin], places[end]))
    journal.close()
    segments = sorted((tmp_path / "traces").glob("*.seg"))
    for number in gone:
        segments[number].unlink()
    lost = {record for number in gone for record in range(number * each, (number + 1) * each)}
    again = opened(tmp_path / "traces")
    store = Store()
    pipeline, flow, _ = started(again, store, tmp_path, rows=store.rows, max_items=MOST)
    assert pipeline.drain(PATIENCE_S)
    assert set(store.spans) == set(range(len(places) - 1)) - set(range(begin, end)) - lost
    assert flow.stored + flow.duplicates + flow.damaged == flow.replayed
    assert pipeline.settled_items == again.next_items
    again.close()
