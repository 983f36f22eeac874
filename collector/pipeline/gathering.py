"""The first half of a pipeline: reads a journal's records and finds out what they mean, a batch at a time.

What each insert costs whatever is in it is a quarter of all while batches are small. So a batch grows beyond its time
as long as more is waiting, or as long as the store is busy and another batch waits for it already.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic

from collector.journal import Cursor, Header, Readable, Record
from collector.pipeline.batches import Gathered, Item, Stage, read_again
from collector.pipeline.deadletter import DeadLetters, Kind, Letter
from collector.pipeline.mapped import Mapped
from collector.pipeline.patience import Patience
from collector.pipeline.turns import Course, Turns
from collector.telemetry.operations import tells_of_us
from collector.telemetry.telemetry import about

log = logging.getLogger(__name__)

IDLE_WAIT_S = 0.5
BUSY_WAIT_S = 0.02
"""How often it is looked whether the store is still busy."""
FATAL_ATTEMPTS = 5
"""A batch that was being stored when the process died so often in a row may be what kills it: its records are stored
one by one, and the one with which it dies as often again is kept aside. Whoever kills the process from without, again
and again as it starts, is not to cost a whole batch."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a batch is full, and how long one waits that is not."""

    items: int
    size: int
    """Bytes of the journal."""
    wait_s: float


class Gathering(Generic[Item]):
    """Makes batches of what a journal holds. Used from one thread.

    Args:
        turns: in which order the journal is read.
        bounds: may be set anew from any thread.
        draining: once it is set nothing is waited for, and there is an end to what there is to do.
        stopping: once it is set nothing more is begun.
        is_store_busy: whether another batch waits for the store already.
    """

    def __init__(
        self,
        journal: Readable,
        stage: Stage[Item],
        dead_letters: DeadLetters,
        *,
        signal: str,
        cursor: Cursor,
        turns: Turns,
        bounds: Bounds,
        patience: Patience,
        draining: threading.Event,
        stopping: threading.Event,
        is_store_busy: Callable[[], bool],
    ) -> None:
        self._journal = journal
        self._stage = stage
        self._dead_letters = dead_letters
        self._signal = signal
        self._cursor = cursor
        self._turns = turns
        self.bounds = bounds
        self._patience = patience
        self._draining = draining
        self._stopping = stopping
        self._is_store_busy = is_store_busy
        self._underway: deque[Gathered[Item]] = deque()
        """Batches of the old course after the one that is derived, in order."""
        self._others_wait = True
        """Runs that are to be settled later may be of others' spans than a collector's own."""
        self.read: Callable[[Header, bytes], None] = lambda header, body: None
        """Told of each record as it is read. Must neither fail nor wait."""
        self.gathered: list[Callable[[int, int, bool], None]] = []
        """Told of each batch before it is prepared: items, bytes of the journal, and whether it is full."""

    def next(self) -> Gathered[Item] | None:
        """What makes the next batch; None when there is nothing left to do."""
        turns = self._turns
        course = turns.next(max_items=self.bounds.items, max_bytes=self.bounds.size)
        gathered = self._gather(course)
        if gathered is None:
            return None
        gathered.ahead = turns.ahead
        if course.reader.is_done and not gathered.size:
            gathered.end = turns.ahead.begin if turns.ahead else gathered.end
            gathered.damaged += turns.join()
        else:
            items = gathered.end.items - gathered.begin.items
            fullness = max(items / self.bounds.items, gathered.size / self.bounds.size)
            turns.handed_over(course, gathered.end, fullness)
        gathered.after = turns.position, turns.ahead
        return gathered

    def _gather(self, course: Course) -> Gathered[Item] | None:
        """What makes one batch; None when there is nothing left to do. Of a backlog that is read it is empty."""
        if course is self._turns.old:
            self._look_ahead()
            if self._underway:
                return self._underway.popleft()
        begin = course.reader.position
        gathered: Gathered[Item] = Gathered([], begin, begin)
        deadline = 0.0
        unfinished, course.unfinished = course.unfinished, None
        fatal = False
        if unfinished is not None and self._is_fatal():
            fatal = unfinished.sequence <= begin.sequence + 1
            course.singly_until, unfinished = unfinished, unfinished if fatal else None
        gathered.begun_before = unfinished is not None
        while not self._stopping.is_set():
            record = self._patience.until_done(course.reader.next)
            now = time.monotonic()
            if record is None:
                if self._turns.must_go_on(course):
                    return self._closed(gathered, course)
                is_due = now >= deadline and not self._is_store_busy()
                if gathered.size and (is_due or self._draining.is_set() or unfinished):
                    return self._closed(gathered, course)
                due_in_s = self._stage.due_in_s()
                if not gathered.size and due_in_s == 0 and not unfinished:
                    return self._closed(gathered, course)
                if self._draining.is_set():
                    return None
                due_in_s = max(deadline - now, BUSY_WAIT_S) if gathered.size else due_in_s
                course.reader.wait(min(due_in_s, IDLE_WAIT_S))  # nobody wakes it to drain
                continue
            deadline = deadline or now + self.bounds.wait_s
            self._note(record, gathered)
            self._take(record, gathered, fatal=fatal)
            gathered.decoding_s += time.monotonic() - now
            if begin < course.singly_until:
                return self._closed(gathered, course)
            if unfinished is not None:
                # What was being stored when the last process ended is one batch again, with the same token.
                if course.reader.position >= unfinished:
                    return self._closed(gathered, course)
            elif len(gathered.items) >= self.bounds.items or gathered.size >= self.bounds.size:
                gathered.is_full = True
                return self._closed(gathered, course)
        return None

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
        return self._turns.is_plain() and (items >= self.bounds.items or size >= self.bounds.size)

    def _full_batch(self) -> Gathered[Item]:
        """The records of a batch, none of them decoded."""
        course = self._turns.old
        begin = course.reader.position
        gathered: Gathered[Item] = Gathered([], begin, begin, is_full=True)
        items = 0
        while gathered.size < self.bounds.size and items < self.bounds.items:
            record = self._patience.until_done(course.reader.next)
            if record is None:
                break
            items += record.header.items
            self._note(record, gathered)
            gathered.records.append(record)
        return self._closed(gathered, course) if gathered.records else gathered

    def mapped(self, gathered: Gathered[Item]) -> Mapped[Item] | None:
        """What a batch means; None if the collector stops first."""
        step = gathered.doing.step
        if gathered.finish is not None:
            set_aside = partial(self._set_record_aside, gathered)
            again = partial(read_again, self._journal, gathered)
            with step("map", apart=True):
                mapped = self._patience.until_done(partial(gathered.finish, set_aside, again, self._stopping))
            gathered.finish = None
        else:
            if gathered.records:
                with step("decode"):
                    for record in gathered.records:
                        self._take(record, gathered, fatal=False)
            with step("map"):
                mapped = self._patience.until_done(partial(self._stage.map, gathered.items))
        gathered.records = []
        if mapped is not None and len(mapped.items):
            for tell in self.gathered:
                tell(len(mapped.items), gathered.size, gathered.is_full)
        return mapped

    def _take(self, record: Record, gathered: Gathered[Item], *, fatal: bool) -> None:
        try:
            if fatal:
                raise ValueError(f"the collector died {self._cursor.attempts} times while it stored this")
            gathered.items += self._stage.decode(record)
        except Exception as error:
            self._set_record_aside(gathered, record, str(error), fatal=fatal)

    def _note(self, record: Record, gathered: Gathered[Item]) -> None:
        doing = gathered.doing
        if not gathered.size:  # it waited for this
            doing.began_ns, doing.is_own = time.time_ns(), True
        doing.is_own = doing.is_own and tells_of_us(record.body)
        gathered.size += len(record.body) or 1
        gathered.received_ns = gathered.received_ns or record.header.received_ns
        self.read(record.header, record.body)

    def _set_record_aside(
        self, gathered: Gathered[Item], record: Record, error: str, *, fatal: bool = False
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
        self._patience.until_done(
            partial(self._dead_letters.keep, [Letter(record, self._signal, reason, kind)])
        )

    def _is_fatal(self) -> bool:
        return self._cursor.attempts >= FATAL_ATTEMPTS

    def _closed(self, gathered: Gathered[Item], course: Course) -> Gathered[Item]:
        gathered.end = course.reader.position
        gathered.damaged = course.lost()
        doing, begin, end = gathered.doing, gathered.begin, gathered.end
        if gathered.size:
            told = {"decode_ms": round(gathered.decoding_s * 1000, 3)} if not gathered.records else {}
            doing.stepped("read", doing.began_ns, **told)
            self._others_wait = self._others_wait or not doing.is_own
        else:
            doing.began_ns, doing.is_own = time.time_ns(), not self._others_wait
            self._others_wait = False
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
