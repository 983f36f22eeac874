"""From a journal to the sink: read, decode, prepare, write, advance the cursor.

Two threads a journal, so that Python's work on one batch overlaps with the engine's on the batch before:
one reads records and prepares a batch, the other stores it. Pipelines whose batches meet in the same runs share
an order (`order`). The journal forgets a batch only when all of it is stored; a batch that is written again
after a crash is the same batch and leaves the same rows.

What each insert costs whatever is in it is a quarter of all while batches are small. So a batch grows beyond its time
as long as more is waiting, or as long as the store is busy and another batch waits for it already.

A store that is away is waited for without end. A row that it will never take is kept aside (`deadletter`).
"""

from __future__ import annotations

import logging
import queue
import random
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, Protocol, TypeVar

from collector.journal import NOWHERE, SINK_CURSOR, Cursor, Header, Position, Readable, Record, Stretch
from collector.otlp.cut import count, cut
from collector.pipeline.breaker import Breaker
from collector.pipeline.deadletter import DeadLetters, DeadLettersFullError, Kind, Letter
from collector.pipeline.flow import Flow
from collector.pipeline.isolation import unfit
from collector.pipeline.mapped import Finish, Item_co, Mapped
from collector.pipeline.order import WriteOrder
from collector.pipeline.turns import Course, Turns
from collector.telemetry.operations import Doing, Step, tells_of_us
from collector.telemetry.telemetry import about
from mappers.model import Event, LogRecord, Run, Span, Warning
from sinks.base import Batch, PermanentError, Sink, SinkError, WrongStoreError

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 30.0
OUTAGE_S = 5.0
"""What did not work for so long leaves a backlog behind."""
IDLE_WAIT_S = 0.5
BUSY_WAIT_S = 0.02
"""How often it is looked whether the store is still busy."""
FATAL_ATTEMPTS = 5
"""A batch that was being stored when the process died so often in a row may be what kills it: its records are stored
one by one, and the one with which it dies as often again is kept aside. Whoever kills the process from without, again
and again as it starts, is not to cost a whole batch."""

TABLES = ("spans", "logs", "events", "runs", "warnings")
MOST_FAILED_STEPS = 16
"""Told of a batch."""

_CODE = re.compile(r"\bCode: (\d+)")
"""Of ClickHouse, within what it says."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class Prepared:
    """A batch on its way to the sink."""

    number: int
    batch: Batch
    before_write: Callable[[], None]
    """Completes the batch with what can only be read once all earlier batches are stored."""
    after_write: Callable[[], None]
    """Called once the batch is stored."""
    discard: Callable[[Sequence[Event]], None]
    """Told of events that are not stored after all."""
    items: int
    is_complete: bool = False


@dataclass(slots=True)
class _Gathered(Generic[Item]):
    """What one batch is made of."""

    items: list[Item]
    begin: Position
    end: Position
    received_ns: int = 0
    """When the oldest of it came."""
    left_out: dict[int, int] = field(default_factory=dict)
    """Records that were kept aside whole: items by sequence."""
    damaged: int = 0
    """Items that should have been there and could not be read."""
    size: int = 0
    """Bytes of the journal that it takes."""
    is_full: bool = False
    """More may be waiting already."""
    begun_before: bool = False
    """It was being stored when the last process ended."""
    ahead: Stretch | None = None
    """What is stored ahead of the cursor by when it comes to the store."""
    after: tuple[Position, Stretch | None] = (NOWHERE, None)
    """Where the cursor is once it is stored, and what is ahead of that."""
    records: list[Record] = field(default_factory=list)
    """That are not decoded yet."""
    finish: Finish[Item] | None = None
    """Gives what they mean, if they are being mapped elsewhere."""
    doing: Doing = field(default_factory=Doing)
    decoding_s: float = 0.0
    handed_over_ns: int = 0

    @property
    def is_overtaken(self) -> bool:
        """Some that came later are stored by then."""
        return self.ahead is not None and bool(self.ahead.records) and self.end <= self.ahead.begin


class Ahead(Protocol[Item_co]):
    """Where records are mapped while those before them are derived."""

    @property
    def depth(self) -> int:
        """So many batches may be under way; 0: none just now."""

    def begin(self, records: Sequence[Record]) -> Finish[Item_co] | None:
        """Has the records of a batch mapped; None if that is to be done here."""


class Stage(Protocol[Item]):
    """What happens to the records of one signal between the journal and the sink."""

    @property
    def ahead(self) -> Ahead[Item] | None:
        """Where else they can be mapped."""

    def decode(self, record: Record) -> Sequence[Item]:
        """Items of one record."""

    def map(self, items: Sequence[Item]) -> Mapped[Item]:
        """What items mean: all that were decoded since the last time."""

    def prepare(
        self, mapped: Mapped[Item], *, number: int, stored: int, pressed: bool, overtaken: bool
    ) -> Prepared:
        """A batch of what was mapped. `number` counts the batches of all pipelines in its order from 1; `stored` is the
        number of the newest one written; `pressed` says that more items may be waiting already, `overtaken` that some
        that came later are in batches before it."""

    def due_in_s(self) -> float:
        """After how many seconds a batch without items has something to write; infinite if it never has."""

    def hurry(self) -> None:
        """From now on nothing is to be left for a later batch."""


class Pipeline(Generic[Item]):
    """Moves one journal's records into the sink.

    Args:
        max_items, max_bytes: a batch is full at either.
        flush_timeout: seconds after which a batch that is not full is written, if nothing else is to be done before.
        order: shared with the pipelines whose batches lead to the same runs.
        flow: counts what becomes of the items; the stage counts those that are stored and those that were.
        breaker: shared by all who use the sink.
    """

    def __init__(
        self,
        journal: Readable,
        stage: Stage[Item],
        sink: Sink,
        dead_letters: DeadLetters,
        *,
        signal: str,
        max_items: int,
        max_bytes: int,
        flush_timeout: float,
        order: WriteOrder | None = None,
        flow: Flow | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._journal = journal
        self._stage = stage
        self._sink = sink
        self._dead_letters = dead_letters
        self._signal = signal
        self._cursor: Cursor = journal.cursor(SINK_CURSOR)
        self._turns = Turns(journal, self._cursor)
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._flush_timeout = flush_timeout
        self._prepared: queue.Queue[tuple[_Gathered[Item], Prepared] | None] = queue.Queue(maxsize=1)
        self._underway: deque[_Gathered[Item]] = deque()
        """Batches of the old course after the one that is derived, in order."""
        self._draining = threading.Event()
        self._stopping = threading.Event()
        self._order = order or WriteOrder()
        self._breaker = breaker or Breaker()
        self.flow = flow or Flow()
        self.settled_items = self._cursor.items
        """Items of all records that are dealt with; together with the journal's count this is what is queued."""
        self.flow.replayed = max(0, journal.inherited_items - self.settled_items)
        self.oldest_ns = 0
        """When the oldest record of the batch that is being stored came; 0: nothing is."""
        self.read: Callable[[Header, bytes], None] = lambda header, body: None
        """Told of each record as it is read. Must neither fail nor wait."""
        self.gathered: list[Callable[[int, int, bool], None]] = []
        """Told of each batch before it is prepared: items, bytes of the journal, and whether it is full."""
        self.written: list[Callable[[Batch, float], None]] = []
        """Told of each batch that was stored and how long that took."""
        self.failed: list[Callable[[str], None]] = []
        """Told of each try that failed: the store's code or the kind of the fault."""
        self.done: list[Callable[[Doing], None]] = []
        """Told of each batch that is dealt with, and of the steps to that."""
        self.retries: Counter[str] = Counter()
        """Tries that failed, by the store's code or the kind of the fault."""
        self.rows_dropped = 0
        """Derived rows that the store would not take."""
        self.last_error = ""
        self._threads = [
            threading.Thread(
                target=self._guard, args=(target,), name=f"{signal}-{target.__name__.strip('_')}"
            )
            for target in (self._read, self._write)
        ]

    def gather(self, *, max_items: int, max_bytes: int, flush_timeout: float) -> None:
        """Batches are full at other bounds from now on. May be called from any thread."""
        self._max_items, self._max_bytes, self._flush_timeout = max_items, max_bytes, flush_timeout

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def drain(self, timeout: float) -> bool:
        """Stores what the journal holds, for at most `timeout` seconds, and stops. False if something is left;
        it stays in the journal."""
        deadline = time.monotonic() + timeout
        self._stage.hurry()
        self._draining.set()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        drained = not any(thread.is_alive() for thread in self._threads)
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        return drained

    def is_alive(self) -> bool:
        """Both threads are at work."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def waiting_records(self) -> int:
        """Requests that are not dealt with."""
        return max(0, self._journal.next_sequence - self._cursor.records)

    @property
    def lag_s(self) -> float:
        """Age of the oldest record in the batch that is being stored; 0 while nothing is."""
        return max(0.0, (time.time_ns() - self.oldest_ns) / 1e9) if self.oldest_ns else 0.0

    # ------------------------------------------------------------------- reading

    def _read(self) -> None:
        try:
            while not self._stopping.is_set() and self._read_batch():
                continue
        finally:
            self._hand_over(None)

    def _read_batch(self) -> bool:
        """Prepares a batch and hands it over; False if there is nothing left to do. What it holds of the batch ends
        with it: the next one is gathered for a second or more, and its predecessor may be stored by then."""
        gathered = self._next()
        mapped = self._mapped(gathered) if gathered is not None else None
        if gathered is None or mapped is None:
            return False
        doing = gathered.doing
        began_ns = time.time_ns()
        with self._order.next_batch() as number:
            doing.stepped("wait to derive", began_ns)
            prepare = partial(
                self._stage.prepare,
                mapped,
                number=number,
                stored=self._order.stored,
                pressed=gathered.is_full,
                overtaken=gathered.is_overtaken,
            )
            with doing.step("derive"):
                prepared = self._patiently(prepare)
            if prepared is not None:
                gathered.items = []  # the batch has what is still needed of them
                begin, end = gathered.begin, gathered.end
                prepared.batch.again = gathered.begun_before
                prepared.batch.token = (
                    f"{self._journal.id}-{begin.segment}.{begin.offset}-{end.segment}.{end.offset}"
                )
                gathered.handed_over_ns = time.time_ns()
                self._hand_over((gathered, prepared))
        return True

    def _mapped(self, gathered: _Gathered[Item]) -> Mapped[Item] | None:
        """What a batch means; None if the collector stops first."""
        step = gathered.doing.step
        if gathered.finish is not None:
            set_aside = partial(self._set_record_aside, gathered)
            again = partial(self._read_again, gathered)
            with step("map", apart=True):
                mapped = self._patiently(partial(gathered.finish, set_aside, again, self._stopping))
            gathered.finish = None
        else:
            if gathered.records:
                with step("decode"):
                    for record in gathered.records:
                        self._take(record, gathered, fatal=False)
            with step("map"):
                mapped = self._patiently(partial(self._stage.map, gathered.items))
        gathered.records = []
        if mapped is not None and len(mapped.items):
            for tell in self.gathered:
                tell(len(mapped.items), gathered.size, gathered.is_full)
        return mapped

    def _look_ahead(self) -> None:
        """Has batches mapped elsewhere, as long as there is a backlog."""
        ahead = self._stage.ahead
        while ahead is not None and self._is_backlog() and len(self._underway) < ahead.depth:
            gathered = self._full_batch()
            if not gathered.records:
                return
            gathered.finish = ahead.begin(gathered.records)
            self._underway.append(gathered)
            if gathered.finish is None:
                return
            gathered.records = []

    def _is_backlog(self) -> bool:
        """More than a batch waits in the journal, and none of it is special."""
        items, size = self._turns.waiting()
        return self._turns.is_plain() and (items >= self._max_items or size >= self._max_bytes)

    def _full_batch(self) -> _Gathered[Item]:
        """The records of a batch, none of them decoded."""
        course = self._turns.old
        begin = course.reader.position
        gathered: _Gathered[Item] = _Gathered([], begin, begin, is_full=True)
        items = 0
        while gathered.size < self._max_bytes and items < self._max_items:
            record = self._patiently(course.reader.next)
            if record is None:
                break
            items += record.header.items
            self._note(record, gathered)
            gathered.records.append(record)
        return self._closed(gathered, course) if gathered.records else gathered

    def _next(self) -> _Gathered[Item] | None:
        """What makes the next batch; None when there is nothing left to do."""
        turns = self._turns
        course = turns.next(max_items=self._max_items, max_bytes=self._max_bytes)
        gathered = self._gather(course)
        if gathered is None:
            return None
        gathered.ahead = turns.ahead
        if course.reader.is_done and not gathered.size:
            gathered.end = turns.ahead.begin if turns.ahead else gathered.end
            gathered.damaged += turns.join()
        else:
            items = gathered.end.items - gathered.begin.items
            fullness = max(items / self._max_items, gathered.size / self._max_bytes)
            turns.handed_over(course, gathered.end, fullness)
        gathered.after = turns.position, turns.ahead
        return gathered

    def _gather(self, course: Course) -> _Gathered[Item] | None:
        """What makes one batch; None when there is nothing left to do. Of a backlog that is read it is empty."""
        if course is self._turns.old:
            self._look_ahead()
            if self._underway:
                return self._underway.popleft()
        begin = course.reader.position
        gathered: _Gathered[Item] = _Gathered([], begin, begin)
        deadline = 0.0
        unfinished, course.unfinished = course.unfinished, None
        fatal = False
        if unfinished is not None and self._is_fatal():
            fatal = unfinished.sequence <= begin.sequence + 1
            course.singly_until, unfinished = unfinished, unfinished if fatal else None
        gathered.begun_before = unfinished is not None
        while not self._stopping.is_set():
            record = self._patiently(course.reader.next)
            now = time.monotonic()
            if record is None:
                if self._turns.must_go_on(course):
                    return self._closed(gathered, course)
                is_due = now >= deadline and not self._prepared.full()
                if gathered.size and (is_due or self._draining.is_set() or unfinished):
                    return self._closed(gathered, course)
                due_in_s = self._stage.due_in_s()
                if not gathered.size and due_in_s == 0 and not unfinished:
                    return self._closed(gathered, course)
                if self._draining.is_set():
                    return None
                course.reader.wait(
                    max(deadline - now, BUSY_WAIT_S) if gathered.size else min(IDLE_WAIT_S, due_in_s)
                )
                continue
            deadline = deadline or now + self._flush_timeout
            self._note(record, gathered)
            self._take(record, gathered, fatal=fatal)
            gathered.decoding_s += time.monotonic() - now
            if begin < course.singly_until:
                return self._closed(gathered, course)
            if unfinished is not None:
                # What was being stored when the last process ended is one batch again, with the same token.
                if course.reader.position >= unfinished:
                    return self._closed(gathered, course)
            elif len(gathered.items) >= self._max_items or gathered.size >= self._max_bytes:
                gathered.is_full = True
                return self._closed(gathered, course)
        return None

    def _take(self, record: Record, gathered: _Gathered[Item], *, fatal: bool) -> None:
        try:
            if fatal:
                raise ValueError(f"the collector died {self._cursor.attempts} times while it stored this")
            gathered.items += self._stage.decode(record)
        except Exception as error:
            self._set_record_aside(gathered, record, str(error), fatal=fatal)

    def _note(self, record: Record, gathered: _Gathered[Item]) -> None:
        doing = gathered.doing
        if not gathered.size:  # it waited for this
            doing.began_ns, doing.is_own = time.time_ns(), True
        doing.is_own = doing.is_own and tells_of_us(record.body)
        gathered.size += len(record.body) or 1
        gathered.received_ns = gathered.received_ns or record.header.received_ns
        self.read(record.header, record.body)

    def _set_record_aside(
        self, gathered: _Gathered[Item], record: Record, error: str, *, fatal: bool = False
    ) -> None:
        log.warning(
            "%s: record %d is kept aside: %s",
            self._signal,
            record.sequence,
            error,
            extra=about(record.header.tenant),
        )
        reason = error if fatal else f"can not be decoded: {error}"
        gathered.left_out[record.sequence] = record.header.items
        kind: Kind = "deadly" if fatal else "undecodable"
        self._patiently(partial(self._dead_letters.keep, [Letter(record, self._signal, reason, kind)]))

    def _is_fatal(self) -> bool:
        return self._cursor.attempts >= FATAL_ATTEMPTS

    def _closed(self, gathered: _Gathered[Item], course: Course) -> _Gathered[Item]:
        gathered.end = course.reader.position
        gathered.damaged = course.lost()
        doing, begin, end = gathered.doing, gathered.begin, gathered.end
        if gathered.size:
            told = {"decode_ms": round(gathered.decoding_s * 1000, 3)} if not gathered.records else {}
            doing.stepped("read", doing.began_ns, **told)
        else:
            doing.began_ns = time.time_ns()
        doing.told |= {
            "signal": self._signal,
            "journal": self._journal.id,
            "journal_begin": f"{begin.segment}.{begin.offset}",
            "journal_end": f"{end.segment}.{end.offset}",
            "first_record": begin.sequence,
            "records": end.sequence - begin.sequence,
            "bytes": gathered.size,
            "full": gathered.is_full,
        }
        return gathered

    def _hand_over(self, prepared: tuple[_Gathered[Item], Prepared] | None) -> None:
        while not self._stopping.is_set():
            try:
                self._prepared.put(prepared, timeout=IDLE_WAIT_S)
                return
            except queue.Full:
                continue

    # ------------------------------------------------------------------- writing

    def _write(self) -> None:
        while not self._stopping.is_set() and self._write_batch():
            continue

    def _write_batch(self) -> bool:
        """Stores the next batch, if one comes soon; False if there will be none. As in `_read_batch`, nothing is held
        of a batch that is stored."""
        try:
            handed_over = self._prepared.get(timeout=IDLE_WAIT_S)
        except queue.Empty:
            return True
        if handed_over is None:
            return False
        gathered, prepared = handed_over
        self.oldest_ns = gathered.received_ns
        doing, batch = gathered.doing, prepared.batch
        doing.told |= {"items": prepared.items} | {name: len(getattr(batch, name)) for name in TABLES}
        while not self._order.await_turn(prepared.number, IDLE_WAIT_S):
            if self._stopping.is_set():
                return False
        doing.stepped("wait to write", gathered.handed_over_ns)
        set_aside = self._patiently(partial(self._store, gathered, prepared), self._breaker)
        if set_aside is None:
            return False
        self._order.advance(prepared.number)
        self._settle(gathered, prepared, set_aside)
        with doing.step("advance the cursor"):
            self._cursor_writes(partial(self._cursor.advance, *gathered.after))
        self.oldest_ns = 0
        doing.told |= {"again": batch.again, "set_aside": set_aside} if batch.again or set_aside else {}
        for tell in self.done:
            tell(doing)
        return True

    def _store(self, gathered: _Gathered[Item], prepared: Prepared) -> int:
        """Stores the batch; returns how many items were kept aside because the store will never take them."""
        began = time.monotonic()
        set_aside = 0
        prepared.batch.inserts.clear()
        if prepared.is_complete:
            prepared.batch.again = True
        else:
            with gathered.doing.step("complete"):
                prepared.before_write()
            prepared.is_complete = True
            with gathered.doing.step("begin the cursor"):
                self._cursor_writes(partial(self._cursor.begin, gathered.end, gathered.ahead))
        try:
            self._sink.write(prepared.batch)
        except WrongStoreError:
            raise
        except PermanentError as error:
            log.warning("%s: a batch is taken apart: %s", self._signal, error)
            with gathered.doing.step("take apart"):
                set_aside = self._set_aside(gathered, prepared)
            self._sink.write(replace(prepared.batch, token=""))
        finally:
            _note_inserts(prepared.batch, gathered.doing)
        for tell in self.written:
            tell(prepared.batch, time.monotonic() - began)
        return set_aside

    def _set_aside(self, gathered: _Gathered[Item], prepared: Prepared) -> int:
        """Takes out of the batch what the store will never take, and keeps the items that it comes from."""
        batch, write = prepared.batch, self._sink.write
        batch.spans, batch.sent = list(batch.spans), None  # a request can not be taken apart
        reasons: dict[int, str] = {}
        reasons.update(unfit(lambda spans: write(Batch(spans=spans)), batch.spans))
        reasons.update(unfit(lambda logs: write(Batch(logs=logs)), batch.logs))
        bad_events = dict(unfit(lambda events: write(Batch(events=events)), batch.events))
        places: dict[tuple[str, str], list[int]] = {}
        items: list[Span | LogRecord] = [*batch.spans, *batch.logs]
        for place, item in enumerate(items):
            places.setdefault((item.trace_id, item.span_id), []).append(place)
        for number, reason in bad_events.items():
            event = batch.events[number]
            found = places.get((event.trace_id, event.span_id), ())
            for place in found:
                reasons.setdefault(place, reason)
            if not found:
                self._drop(event, reason)
        if reasons:
            self._dead_letters.keep(self._letters(gathered, reasons))
        gone = {(items[place].trace_id, items[place].span_id) for place in reasons if items[place].span_id}
        kept_events = [
            event
            for number, event in enumerate(batch.events)
            if number not in bad_events and (event.trace_id, event.span_id) not in gone
        ]
        prepared.discard([event for event in batch.events if (event.trace_id, event.span_id) in gone])
        batch.events = kept_events
        batch.spans = [span for place, span in enumerate(batch.spans) if place not in reasons]
        batch.logs = [record for place, record in enumerate(batch.logs) if place not in reasons]
        bad_runs = dict(unfit(lambda runs: write(Batch(runs=runs)), batch.runs))
        bad_warnings = dict(unfit(lambda warnings: write(Batch(warnings=warnings)), batch.warnings))
        for place, reason in bad_runs.items():
            self._drop(batch.runs[place], reason)
        for place, reason in bad_warnings.items():
            self._drop(batch.warnings[place], reason)
        batch.runs = _without(batch.runs, bad_runs)
        batch.warnings = _without(batch.warnings, bad_warnings)
        return len(reasons)

    def _drop(self, row: Event | Run | Warning, reason: str) -> None:
        self.rows_dropped += 1
        log.error(
            "%s: a derived row is not stored: %s",
            self._signal,
            reason,
            extra=about(row.tenant, row.run_id),
        )

    def _letters(self, gathered: _Gathered[Item], reasons: dict[int, str]) -> list[Letter]:
        """The items at these places of the batch, cut out of the requests that they came in."""
        letters = []
        first = 0
        for record in self._read_again(gathered):
            beyond = first + count(record.body)
            wanted = [place for place in reasons if first <= place < beyond]
            for place in wanted:
                header = replace(record.header, items=1)
                part = Record(record.sequence, header, cut(record.body, [place - first]))
                letters.append(Letter(part, self._signal, reasons[place], "unstorable"))
            first = beyond
        return letters

    def _read_again(self, gathered: _Gathered[Item]) -> Iterator[Record]:
        """The records of a batch that is not stored yet, but for those that were left out."""
        reader = self._journal.reader(gathered.begin)
        try:
            while reader.position < gathered.end and (record := reader.next()) is not None:
                if record.sequence not in gathered.left_out:
                    yield record
        finally:
            reader.close()

    def _settle(self, gathered: _Gathered[Item], prepared: Prepared, set_aside: int) -> None:
        """Counts what became of the batch, all at one moment."""
        with self._journal.accounting:
            prepared.after_write()
            self.flow.stored -= set_aside
            self.flow.dead_lettered += set_aside + sum(gathered.left_out.values())
            self.flow.damaged += gathered.damaged
            self.flow.stored_at_ns = time.time_ns()
            position, ahead = gathered.after
            self.settled_items = position.items + (ahead.items if ahead else 0)
            self._journal.settled(gathered.begin.sequence, gathered.end.sequence)

    def _cursor_writes(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:  # the next batch tries again; until then a restart stores this one once more
            self.last_error = str(error)
            log.error("the cursor of %s is not written: %s", self._signal, error)

    # ------------------------------------------------------------------- shared

    def _patiently(self, attempt: Callable[[], Result], breaker: Breaker | None = None) -> Result | None:
        """Tries until it works; None if the collector stops first, and the journal keeps what is left."""
        pause = FIRST_RETRY_S
        failed_s = 0.0
        while True:
            if breaker is not None and (wait_s := breaker.wait_s()):
                if self._stopping.wait(wait_s):
                    return None
                continue
            try:
                result = attempt()
            except (SinkError, DeadLettersFullError, OSError) as error:
                self._failed(error, str(error))
            except Exception as error:
                log.exception("%s failed", self._signal)
                self._failed(error, f"{type(error).__name__}: {error}")
            else:
                self.last_error = ""
                if breaker is not None:
                    breaker.succeeded()
                if failed_s and time.monotonic() - failed_s >= OUTAGE_S:
                    self._turns.is_behind = True
                return result
            failed_s = failed_s or time.monotonic()
            if breaker is not None:
                breaker.failed()
            if breaker is None or not breaker.is_open:
                if self._stopping.wait(random.uniform(0, pause)):  # noqa: S311  # full jitter
                    return None
                pause = min(pause * 2, LONGEST_RETRY_S)

    def _failed(self, error: Exception, why: str) -> None:
        self.last_error = why
        code = _CODE.search(why)
        kind = code[1] if code else type(error).__name__
        self.retries[kind] += 1
        for tell in self.failed:
            tell(kind)
        log.warning("%s: tried again later: %s", self._signal, why)
        if self._cursor.attempts:
            # The process lives: it is not the batch that kills it.
            self._cursor_writes(self._cursor.survived)

    def _guard(self, target: Callable[[], None]) -> None:
        try:
            target()
        except Exception as error:
            self.last_error = f"{type(error).__name__}: {error}"
            log.exception("%s stopped", threading.current_thread().name)


def _note_inserts(batch: Batch, doing: Doing) -> None:
    """Inserts of one try are steps. A store that is away is tried without end: only the newest of those are kept."""
    for insert in batch.inserts:
        told = {
            "db.system.name": "clickhouse",
            "db.operation.name": "INSERT",
            "db.collection.name": insert.table,
            "db.operation.batch.size": insert.rows,
            "bytes": insert.size,
            "clickhouse.query_id": insert.query_id,
        }
        name = f"INSERT {insert.table}"
        doing.steps.append(Step(name, insert.began_ns, insert.ended_ns, told, insert.error))
    failed = [step for step in doing.steps if step.error]
    for step in failed[:-MOST_FAILED_STEPS]:
        doing.steps.remove(step)


DerivedRow = TypeVar("DerivedRow", Run, Warning)


def _without(rows: Sequence[DerivedRow], places: dict[int, str]) -> Sequence[DerivedRow]:
    return [row for place, row in enumerate(rows) if place not in places]
