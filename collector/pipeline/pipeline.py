"""From a journal to the sink: read, decode, prepare, write, advance the cursor.

Two threads a journal, so that Python's work on one batch overlaps with the engine's on the batch before:
one reads records and prepares a batch (`gathering`), the other stores it (`storing`). Pipelines whose batches meet in
the same runs share an order (`order`). The journal forgets a batch only when all of it is stored; a batch that is
written again after a crash is the same batch and leaves the same rows. What does not work is tried again (`patience`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic

from collector.journal import SINK_CURSOR, Cursor, Readable
from collector.pipeline.batches import Gathered, Item, Prepared, Stage
from collector.pipeline.breaker import Breaker
from collector.pipeline.deadletter import DeadLetters
from collector.pipeline.flow import Flow
from collector.pipeline.gathering import IDLE_WAIT_S, Bounds, Gathering
from collector.pipeline.order import WriteOrder
from collector.pipeline.patience import Patience
from collector.pipeline.storing import Storing
from collector.pipeline.turns import Turns
from collector.telemetry.operations import Doing
from sinks.base import Sink

TABLES = ("spans", "logs", "events", "runs", "warnings")


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
        self._cursor: Cursor = journal.cursor(SINK_CURSOR)
        self._prepared: queue.Queue[tuple[Gathered[Item], Prepared] | None] = queue.Queue(maxsize=1)
        self._draining = threading.Event()
        self._stopping = threading.Event()
        self._order = order or WriteOrder()
        self._breaker = breaker or Breaker()
        turns = Turns(journal, self._cursor)
        self.patience = Patience(signal, self._cursor, self._stopping)
        self.patience.outlasted = turns.fell_behind
        self.gathering: Gathering[Item] = Gathering(
            journal,
            stage,
            dead_letters,
            signal=signal,
            cursor=self._cursor,
            turns=turns,
            bounds=Bounds(max_items, max_bytes, flush_timeout),
            patience=self.patience,
            draining=self._draining,
            stopping=self._stopping,
            is_store_busy=self._prepared.full,
        )
        self.storing: Storing[Item] = Storing(
            journal, sink, dead_letters, signal=signal, cursor=self._cursor, patience=self.patience
        )
        self.flow = flow or Flow()
        self.settled_items = self._cursor.items
        """Items of all records that are dealt with; together with the journal's count this is what is queued."""
        self.flow.replayed = max(0, journal.inherited_items - self.settled_items)
        self.oldest_ns = 0
        """When the oldest record of the batch that is being stored came; 0: nothing is."""
        self.done: list[Callable[[Doing], None]] = []
        """Told of each batch that is dealt with, and of the steps to that."""
        self._threads = [
            threading.Thread(
                target=self.patience.guard, args=(target,), name=f"{signal}-{target.__name__.strip('_')}"
            )
            for target in (self._read, self._write)
        ]

    def gather(self, *, max_items: int, max_bytes: int, flush_timeout: float) -> None:
        """Batches are full at other bounds from now on. May be called from any thread."""
        self.gathering.bounds = Bounds(max_items, max_bytes, flush_timeout)

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
        gathered = self.gathering.next()
        mapped = self.gathering.mapped(gathered) if gathered is not None else None
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
                prepared = self.patience.until_done(prepare)
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

    def _hand_over(self, prepared: tuple[Gathered[Item], Prepared] | None) -> None:
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
        set_aside = self.patience.until_done(partial(self.storing.store, gathered, prepared), self._breaker)
        if set_aside is None:
            return False
        self._order.advance(prepared.number)
        self._settle(gathered, prepared, set_aside)
        with doing.step("advance the cursor"):
            self.patience.note(partial(self._cursor.advance, *gathered.after))
        self.oldest_ns = 0
        doing.told |= {"again": batch.again, "set_aside": set_aside} if batch.again or set_aside else {}
        for tell in self.done:
            tell(doing)
        return True

    def _settle(self, gathered: Gathered[Item], prepared: Prepared, set_aside: int) -> None:
        """Counts what became of the batch, all at one moment."""
        with self._journal.accounting:
            prepared.after_write()
            self.flow.stored -= set_aside
            self.flow.dead_lettered += set_aside + sum(gathered.left_out.values())
            self.flow.damaged += gathered.damaged
            position, ahead = gathered.after
            self.settled_items = position.items + (ahead.items if ahead else 0)
            self._journal.settled(gathered.begin.sequence, gathered.end.sequence)
