"""From the journal to a sink that fails in every way a store can."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import collector.pipeline.breaker
import collector.pipeline.patience
from collector.config import RedactionSettings
from collector.deriver.deriver import Deriver
from collector.journal import Header, Journal, Position
from collector.otlp import decode_traces
from collector.pipeline.batches import Gathered
from collector.pipeline.breaker import FAILURES_TO_OPEN, Breaker
from collector.pipeline.clocks import MARK, settle_times
from collector.pipeline.deadletter import DeadLetters, read
from collector.pipeline.flow import Flow
from collector.pipeline.gathering import FATAL_ATTEMPTS
from collector.pipeline.isolation import unfit
from collector.pipeline.mapped import SpanMapper
from collector.pipeline.order import WriteOrder
from collector.pipeline.patience import Patience
from collector.pipeline.pipeline import Pipeline
from collector.pipeline.redaction import ProjectRules, Redaction
from collector.pipeline.stages import Derivation, Totals, TraceStage
from collector.pipeline.storing import MOST_FAILED_STEPS
from collector.telemetry.operations import OWN_SCOPE, Doing
from mappers.conventions import BUILTIN
from mappers.model import Event
from mappers.normalize import Normalizer
from sinks.base import Batch, Insert, PermanentError, RetryableError, Sink, WrongStoreError
from sinks.clickhouse.columns import LATEST_NS
from tests.collector.deriver.test_deriver import Stored
from tests.corpus import select
from tests.waiting import PATIENCE_S, until

BODY = next(select("openinference/openai/tools")).traces[0].read_bytes()
SPANS = 3


class Faulty:
    """A sink that fails as it is told, then keeps what it is given."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.batches: list[Batch] = []
        self.tries = 0

    def write(self, batch: Batch) -> None:
        self.tries += 1
        if self.faults:
            raise self.faults.pop(0)
        self.batches.append(batch)

    def close(self) -> None:
        pass

    @property
    def span_ids(self) -> list[str]:
        return [span.span_id for batch in self.batches for span in batch.spans]


class Slow(Faulty):
    """A sink that is at its first batch until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.busy, self.go_on = threading.Event(), threading.Event()

    def write(self, batch: Batch) -> None:
        self.busy.set()
        assert self.go_on.wait(PATIENCE_S)
        super().write(batch)


class Rows(Stored):
    def event_rows(self, tenant: str, run_id: str, keys: Any) -> list[Any]:
        return []


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector.pipeline.patience, "FIRST_RETRY_S", 0.01)


def append(journal: Journal, *bodies: bytes, items: int = SPANS) -> None:
    for body in bodies:
        done = threading.Event()
        journal.append(Header(0, items=items), body, lambda _, done=done: done.set())
        assert done.wait(PATIENCE_S)


def started(
    journal: Journal,
    sink: Sink,
    tmp_path: Path,
    *,
    mapped: Callable[[Sequence[Event]], None] = lambda events: None,
    keep_sent: bool = False,
    rows: Rows | None = None,
    **options: Any,
) -> tuple[Pipeline[Any], Flow, DeadLetters]:
    flow, rows = Flow(), rows or Rows()
    dead_letters = DeadLetters(tmp_path / "dead.jsonl", lambda signal, body, project: body)
    stage = TraceStage(
        SpanMapper(Normalizer(), Redaction(ProjectRules(RedactionSettings()), BUILTIN), keep_sent=keep_sent),
        Derivation(Deriver(rows, max_events=10_000), rows, Totals()),
        flow,
    )
    stage.mapped.append(mapped)
    limits = {"max_items": 100, "max_bytes": 1 << 20, "flush_timeout": 0.01} | options
    pipeline: Pipeline[Any] = Pipeline(
        journal, stage, sink, dead_letters, signal="traces", flow=flow, **limits
    )
    pipeline.start()
    return pipeline, flow, dead_letters


@pytest.mark.parametrize(
    "fault", [RetryableError("away"), WrongStoreError("no table"), ZeroDivisionError("a bug")]
)
def test_T3_a_batch_is_tried_until_it_is_stored(journal: Journal, tmp_path: Path, fault: Exception) -> None:
    sink = Faulty(fault, fault, fault)
    pipeline, flow, _ = started(journal, sink, tmp_path)
    append(journal, BODY)
    assert pipeline.drain(PATIENCE_S)
    assert sink.tries == 4
    assert len(sink.span_ids) == SPANS
    assert flow.stored == SPANS
    assert pipeline.patience.last_error == ""


def test_a_batch_tells_of_its_steps_and_of_the_last_tries_that_failed(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.pipeline.patience, "LONGEST_RETRY_S", 0.01)
    monkeypatch.setattr(collector.pipeline.breaker, "PROBE_S", (0.0, 0.01))

    class Inserting(Faulty):
        def write(self, batch: Batch) -> None:
            insert = Insert("runs", len(batch.runs), time.time_ns(), error="Code: 210")
            batch.inserts.append(insert)
            super().write(batch)
            insert.error = ""

    sink = Inserting(*[RetryableError("away")] * (MOST_FAILED_STEPS + 5))
    pipeline, _, _ = started(journal, sink, tmp_path)
    told: list[Doing] = []
    pipeline.done.append(told.append)
    append(journal, BODY)
    assert pipeline.drain(PATIENCE_S)
    [doing] = [one for one in told if one.told["items"]]
    inserts = [step for step in doing.steps if step.name == "INSERT runs"]
    assert [step.error for step in inserts] == ["Code: 210"] * MOST_FAILED_STEPS + [""]
    assert (doing.told["items"], doing.told["records"], doing.told["again"]) == (SPANS, 1, True)
    assert not doing.is_own
    began = [step.began_ns for step in doing.steps]
    assert began == sorted(began)
    assert doing.began_ns == began[0]


@pytest.mark.parametrize(("bodies", "is_own"), [([], True), ([BODY], False)], ids=["alone", "with others"])
def test_a_batch_of_own_spans_alone_is_known(
    journal: Journal, tmp_path: Path, bodies: list[bytes], is_own: bool
) -> None:
    """It is stored like any other, and not told of: that would never end."""
    own = ExportTraceServiceRequest()
    scope = own.resource_spans.add().scope_spans.add()
    scope.scope.name = OWN_SCOPE
    scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=1, end_time_unix_nano=2)
    append(journal, own.SerializeToString(), *bodies, items=1)
    pipeline, flow, _ = started(journal, Faulty(), tmp_path, flush_timeout=0.5)
    told: list[Doing] = []
    pipeline.done.append(told.append)
    assert pipeline.drain(PATIENCE_S)
    assert {one.is_own for one in told if one.told["items"]} == {is_own}
    assert flow.stored == 1 + SPANS * len(bodies)


def test_settling_runs_of_own_spans_later_is_not_told_of_either(journal: Journal, tmp_path: Path) -> None:
    pipeline, _, _ = started(journal, Faulty(), tmp_path)
    assert pipeline.drain(PATIENCE_S)
    gathering = pipeline.gathering

    def settled(*own: bool) -> bool:
        """Whether the batch without records that follows these is about own spans alone."""
        begin, end = Position(1, 0, 1), Position(1, 9, 2)
        for is_own in own:
            gathered = Gathered[Any]([], begin, end, size=9)
            gathered.doing.is_own = is_own
            gathering._closed(gathered, gathering._turns.old)
        return gathering._closed(Gathered[Any]([], end, end), gathering._turns.old).doing.is_own

    assert not settled(True)  # what an earlier process left may be anybody's
    assert settled(True)
    assert settled()
    assert not settled(False, True)
    assert settled(True)


def test_what_is_taken_apart_is_the_same_when_the_sink_reads_requests(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.pipeline.sent.FEW_SPANS", 0)
    spans = decode_traces(BODY)
    bad = spans[1].span_id

    class Picky(Faulty):
        def write(self, batch: Batch) -> None:
            if batch.sent is not None or any(span.span_id == bad for span in batch.spans):
                raise PermanentError("does not fit")
            super().write(batch)

    sink = Picky()
    pipeline, flow, _ = started(journal, sink, tmp_path, keep_sent=True)
    append(journal, BODY)
    assert pipeline.drain(PATIENCE_S)
    assert set(sink.span_ids) == {span.span_id for span in spans} - {bad}
    [(_, letter)] = read(tmp_path / "dead.jsonl")
    assert [span.span_id for span in decode_traces(letter.record.body)] == [bad]
    assert (flow.stored, flow.dead_lettered) == (SPANS - 1, 1)


def test_nothing_is_held_of_a_batch_that_is_stored(journal: Journal, tmp_path: Path) -> None:
    written: list[weakref.ref[set[Any]]] = []

    class Forgetful(Faulty):
        def write(self, batch: Batch) -> None:
            written.append(weakref.ref(batch.refused))  # lists and batches themselves can not be watched

    pipeline, _, _ = started(journal, Forgetful(), tmp_path)
    append(journal, BODY)
    try:
        until(lambda: [batch() for batch in written] == [None])
        assert pipeline.is_alive()
    finally:
        assert pipeline.drain(PATIENCE_S)


def test_what_is_not_stored_at_the_end_stays_in_the_journal(journal: Journal, tmp_path: Path) -> None:
    sink = Faulty(*[RetryableError("away")] * 1000)
    pipeline, flow, _ = started(journal, sink, tmp_path)
    append(journal, BODY)
    until(lambda: pipeline.patience.last_error == "away")
    assert not pipeline.drain(0.05)
    assert flow.stored == 0
    replay = Faulty()
    again, _, _ = started(journal, replay, tmp_path)
    assert again.drain(PATIENCE_S)
    assert len(replay.span_ids) == SPANS


def test_what_is_stored_is_not_read_again(journal: Journal, tmp_path: Path) -> None:
    first, _, _ = started(journal, Faulty(), tmp_path)
    append(journal, BODY)
    assert first.drain(PATIENCE_S)
    sink = Faulty()
    second, _, _ = started(journal, sink, tmp_path)
    assert second.drain(PATIENCE_S)
    assert sink.batches == []


def test_a_batch_is_written_when_it_is_full_or_when_it_is_time(journal: Journal, tmp_path: Path) -> None:
    sink = Faulty()
    append(journal, *[BODY] * 5)
    pipeline, _, _ = started(journal, sink, tmp_path, max_items=2 * SPANS, flush_timeout=0.05)
    until(lambda: len(sink.span_ids) == 5 * SPANS)
    assert [len(batch.spans) for batch in sink.batches] == [2 * SPANS, 2 * SPANS, SPANS]
    assert pipeline.is_alive()
    assert pipeline.drain(PATIENCE_S)


def test_a_batch_grows_beyond_its_time_while_more_is_waiting(journal: Journal, tmp_path: Path) -> None:
    sink = Faulty()
    append(journal, *[BODY] * 5)
    pipeline, _, _ = started(journal, sink, tmp_path, flush_timeout=0)
    assert pipeline.drain(PATIENCE_S)
    assert [len(batch.spans) for batch in sink.batches] == [5 * SPANS]


def test_a_batch_grows_beyond_its_time_while_another_waits_for_the_store(
    journal: Journal, tmp_path: Path
) -> None:
    sink = Slow()
    prepared = threading.Semaphore(0)
    pipeline, _, _ = started(journal, sink, tmp_path, mapped=lambda events: prepared.release())
    append(journal, BODY)
    assert prepared.acquire(timeout=PATIENCE_S)
    assert sink.busy.wait(PATIENCE_S)
    append(journal, BODY)
    assert prepared.acquire(timeout=PATIENCE_S)
    append(journal, BODY)
    was_left = prepared.acquire(timeout=0.2)
    append(journal, BODY)
    sink.go_on.set()
    assert pipeline.drain(PATIENCE_S)
    assert not was_left
    assert [len(batch.spans) for batch in sink.batches] == [SPANS, SPANS, 2 * SPANS]


def test_a_record_that_can_not_be_decoded_is_kept_aside(journal: Journal, tmp_path: Path) -> None:
    sink = Faulty()
    pipeline, flow, dead_letters = started(journal, sink, tmp_path)
    append(journal, BODY, b"\xff\xff", BODY)
    assert pipeline.drain(PATIENCE_S)
    assert len(sink.span_ids) == 2 * SPANS
    assert dead_letters.items["traces"] == flow.dead_lettered == SPANS
    assert '"reason":"can not be decoded' in (tmp_path / "dead.jsonl").read_text()


def test_T6_a_cursor_that_can_not_be_written_does_not_stop_the_rest(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Faulty()
    pipeline, flow, _ = started(journal, sink, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("os.pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        append(journal, BODY)
        until(lambda: sink.batches)
    append(journal, BODY)
    assert pipeline.drain(PATIENCE_S)
    assert flow.stored + flow.duplicates == 2 * SPANS


class Picky(Faulty):
    """A sink that will never take rows of some spans, in one of its tables."""

    def __init__(self, table: str, *span_ids: str) -> None:
        super().__init__()
        self.table = table
        self.refused = set(span_ids)

    def write(self, batch: Batch) -> None:
        self.tries += 1
        if any(row.span_id in self.refused for row in getattr(batch, self.table)):
            raise PermanentError("Code: 53. Type mismatch")
        self.batches.append(batch)


def spans_request(count: int) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(1, count + 1):
        scope.spans.add(
            trace_id=(number // 10 + 1).to_bytes(16),
            span_id=number.to_bytes(8),
            name=f"span {number}",
            start_time_unix_nano=1_790_000_000_000_000_000,
            end_time_unix_nano=1_790_000_001_000_000_000,
        )
    return request.SerializeToString()


@pytest.mark.parametrize("table", ["spans", "events"])
def test_T20_a_row_that_does_not_fit_costs_only_its_span(
    journal: Journal, tmp_path: Path, table: str
) -> None:
    """T20."""
    bad = f"{4321:016x}"
    sink = Picky(table, bad)
    pipeline, flow, dead_letters = started(journal, sink, tmp_path, max_items=8192, max_bytes=16 << 20)
    append(journal, spans_request(8192), items=8192)
    assert pipeline.drain(PATIENCE_S)
    assert (flow.stored, flow.dead_lettered, flow.duplicates) == (8191, 1, 0)
    assert sink.tries < 60
    last = sink.batches[-1]
    assert len({span.span_id for span in last.spans}) == len({event.span_id for event in last.events}) == 8191
    [(_, letter)] = read(tmp_path / "dead.jsonl")
    assert letter.reason == "Code: 53. Type mismatch"
    [span] = decode_traces(letter.record.body)
    assert (span.span_id, span.name, letter.record.header.items) == (bad, "span 4321", 1)
    assert dead_letters.items["traces"] == 1


def test_a_derived_row_that_does_not_fit_is_named_and_costs_nothing_else(
    journal: Journal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = f"{2:032x}"

    class NoRoom(Faulty):
        def write(self, batch: Batch) -> None:
            if any(run.run_id == bad for run in batch.runs):
                raise PermanentError("does not fit")
            super().write(batch)

    pipeline, flow, _ = started(journal, NoRoom(), tmp_path, max_items=8192, max_bytes=16 << 20)
    append(journal, spans_request(30), items=30)
    assert pipeline.drain(PATIENCE_S)
    assert (flow.stored, flow.dead_lettered, pipeline.storing.rows_dropped) == (30, 0, 1)
    [said] = [line for line in caplog.records if line.levelname == "ERROR"]
    assert said.getMessage() == "traces: a derived row is not stored: does not fit"
    assert vars(said)["trace_id"] == bad


def test_T6_dead_letters_without_room_wait_in_the_journal(journal: Journal, tmp_path: Path) -> None:
    sink = Faulty()
    pipeline, flow, dead_letters = started(journal, sink, tmp_path)
    dead_letters.max_bytes = 10
    append(journal, b"\xff\xff")
    until(lambda: "eddyline dead-letter ls" in pipeline.patience.last_error)
    assert dead_letters.is_full
    assert (flow.dead_lettered, dead_letters.size_bytes) == (0, 0)
    dead_letters.max_bytes = 1000
    assert pipeline.drain(PATIENCE_S)
    assert flow.dead_lettered == SPANS


def test_T6_dead_letters_wait_while_the_disk_is_full(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dead.jsonl"
    pipeline, flow, dead_letters = started(journal, Faulty(), tmp_path)
    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if Path(f"/dev/fd/{descriptor}").resolve() != file.resolve():
            return write(descriptor, content)
        write(descriptor, bytes(content)[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        append(journal, b"\xff\xff")
        until(lambda: "No space left" in pipeline.patience.last_error)
        assert (flow.dead_lettered, dead_letters.size_bytes) == (0, 0)
    assert pipeline.drain(PATIENCE_S)
    assert flow.dead_lettered == SPANS
    assert len(list(read(file))) == 1


def test_T4_after_a_crash_a_batch_is_the_same_batch_with_the_same_token(
    journal: Journal, tmp_path: Path
) -> None:
    sink = Faulty(*[RetryableError("unknown outcome")] * 1000)
    append(journal, BODY, BODY)
    pipeline, _, _ = started(journal, sink, tmp_path, max_items=2 * SPANS)
    until(lambda: sink.tries)
    pipeline.drain(0)
    append(journal, BODY)
    tokens, again_told = [], []
    for _ in range(2):
        replay = Faulty()
        replay.faults = [RetryableError("again")]
        write = replay.write

        def watched(batch: Batch, write: Any = write) -> None:
            tokens.append((batch.token, len(batch.spans)))
            again_told.append(batch.again)
            write(batch)

        replay.write = watched  # type: ignore[method-assign]  # watches the real one
        again, _, _ = started(journal, replay, tmp_path, max_items=100)
        assert again.drain(PATIENCE_S)
    first, retried, rest = tokens
    assert first == retried
    assert first[0].startswith(journal.id)
    assert first[1] == 2 * SPANS
    assert rest[0] != first[0]
    assert rest[1] == SPANS
    assert again_told == [True, True, False]


def test_a_batch_that_kills_the_process_is_kept_aside(journal: Journal, tmp_path: Path) -> None:
    append(journal, BODY)
    cursor = journal.cursor("sink")
    reader = journal.reader(cursor.position)
    reader.next()
    for _ in range(FATAL_ATTEMPTS):
        cursor.begin(reader.position)
    append(journal, BODY)
    sink = Faulty()
    pipeline, flow, _ = started(journal, sink, tmp_path)
    assert pipeline.drain(PATIENCE_S)
    assert (flow.dead_lettered, flow.stored) == (SPANS, SPANS)
    [(_, letter)] = read(tmp_path / "dead.jsonl")
    assert "died 5 times" in letter.reason


def test_a_batch_that_waits_for_more_does_not_hold_up_the_end(journal: Journal, tmp_path: Path) -> None:
    pipeline, flow, _ = started(journal, Faulty(), tmp_path, flush_timeout=10 * PATIENCE_S)
    seen = threading.Event()
    pipeline.gathering.read = lambda header, body: seen.set()
    append(journal, BODY)
    assert seen.wait(PATIENCE_S)
    assert pipeline.drain(PATIENCE_S)
    assert flow.stored == SPANS


def test_a_batch_that_may_have_killed_the_process_is_stored_record_by_record(
    journal: Journal, tmp_path: Path
) -> None:
    append(journal, BODY, BODY, BODY)
    cursor = journal.cursor("sink")
    reader = journal.reader(cursor.position)
    for _ in range(3):
        reader.next()
    for _ in range(FATAL_ATTEMPTS):
        cursor.begin(reader.position)
    append(journal, BODY, BODY)
    sink = Faulty()
    pipeline, flow, _ = started(journal, sink, tmp_path, flush_timeout=PATIENCE_S)
    assert pipeline.drain(PATIENCE_S)
    assert [len(batch.spans) for batch in sink.batches] == [SPANS] * 3 + [2 * SPANS]
    assert (flow.dead_lettered, flow.stored + flow.duplicates) == (0, 5 * SPANS)


def test_failures_are_no_crashes(journal: Journal, tmp_path: Path) -> None:
    append(journal, BODY)
    for _ in range(FATAL_ATTEMPTS + 1):
        sink = Faulty(*[RetryableError("away")] * 1000)
        pipeline, _, _ = started(journal, sink, tmp_path)
        until(lambda pipeline=pipeline: pipeline.patience.retries)
        pipeline.drain(0)
    replay = Faulty()
    again, flow, _ = started(journal, replay, tmp_path)
    assert again.drain(PATIENCE_S)
    assert (flow.stored, flow.dead_lettered) == (SPANS, 0)


def test_T3_between_tries_it_waits_twice_as_long_each_time(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.pipeline.patience, "FIRST_RETRY_S", 0.25)
    monkeypatch.setattr("random.uniform", lambda least, most: most)
    waited: list[float] = []

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return len(waited) == 10

    def fails() -> None:
        raise RetryableError("away")

    assert Patience("traces", journal.cursor("sink"), Stopping()).until_done(fails) is None
    assert waited == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_batch_is_stored_when_all_before_it_are() -> None:
    order = WriteOrder()
    numbers = []
    for _ in range(3):
        with order.next_batch() as number:
            numbers.append(number)
    first, second, third = numbers
    assert order.await_turn(first, 0)
    assert not order.await_turn(second, 0)
    order.advance(first)
    assert order.await_turn(second, 0)
    assert not order.await_turn(third, 0)


def test_T5_an_open_breaker_lets_one_through_now_and_then() -> None:
    now = 100.0
    breaker = Breaker(lambda: now)
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.wait_s() == 0
        breaker.failed()
    assert breaker.wait_s() > 0, "it has just failed"
    probes = []
    while now < 200:
        if breaker.wait_s() == 0:
            probes.append(now)
            assert breaker.wait_s() > 0, "one at a time"
            breaker.failed()
        now += 0.05
    gaps = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert min(gaps) >= 1
    assert max(gaps) <= 5.1
    breaker.succeeded()
    assert breaker.wait_s() == 0


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (5, 9, (5, 9, None)),
        (5, 0, (5, 0, None)),
        (0, 0, (777, 0, "no_start")),
        (0, 9, (9, 9, "no_start")),
        (9, 5, (9, 5, "ends_before_start")),
        (2**63, 2**64 - 1, (LATEST_NS, LATEST_NS, "out_of_range")),
        (5, 2**64 - 1, (5, LATEST_NS, "out_of_range")),
    ],
)
def test_T19_odd_times_are_set_right_and_marked(start: int, end: int, expected: tuple[Any, ...]) -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=start, end_time_unix_nano=end
    )
    [span] = spans = decode_traces(request.SerializeToString())
    settle_times(spans, received_ns=777)
    assert (span.start_ns, span.end_ns, span.attributes.get(MARK)) == expected


def test_T20_a_batch_is_not_halved_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.pipeline.isolation.PATIENCE_S", -1.0)
    tries: list[Sequence[int]] = []

    def write(rows: Sequence[int]) -> None:
        tries.append(rows)
        raise PermanentError("no")

    assert unfit(write, range(8)) == [(place, "no") for place in range(8)]
    assert len(tries) == 1
