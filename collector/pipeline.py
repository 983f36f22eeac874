"""From a journal to the sink: read, decode, prepare, write, advance the cursor.

Two threads a journal, so that Python's work on one batch overlaps with the engine's on the batch before:
one reads records and prepares a batch, the other stores it. Pipelines whose batches meet in the same runs share
an order (`order`). The journal forgets a batch only when all of it is stored; a batch that is written again
after a crash leaves the same rows.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from collector.deadletter import DeadLetters
from collector.journal import Cursor, Journal, Position, Record
from collector.order import WriteOrder
from sinks.base import Batch, Sink, SinkError

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 30.0
IDLE_WAIT_S = 0.5

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
    position: Position
    """Where reading goes on after it."""
    items: int


class Stage(Protocol[Item]):
    """What happens to the records of one signal between the journal and the sink."""

    def decode(self, record: Record) -> Sequence[Item]:
        """Items of one record."""

    def prepare(self, items: Sequence[Item], *, number: int, stored: int, position: Position) -> Prepared:
        """A batch from items. `number` counts the batches of all pipelines in its order from 1; `stored` is the
        number of the newest one written."""


class Pipeline(Generic[Item]):
    """Moves one journal's records into the sink.

    Args:
        max_items, max_bytes: a batch is full at either.
        flush_timeout: seconds after which a batch that is not full is written.
        order: shared with the pipelines whose batches lead to the same runs.
    """

    def __init__(
        self,
        journal: Journal,
        stage: Stage[Item],
        sink: Sink,
        dead_letters: DeadLetters,
        *,
        signal: str,
        max_items: int,
        max_bytes: int,
        flush_timeout: float,
        order: WriteOrder | None = None,
    ) -> None:
        self._journal = journal
        self._stage = stage
        self._sink = sink
        self._dead_letters = dead_letters
        self._signal = signal
        self._cursor: Cursor = journal.cursor(name="sink")
        self._reader = journal.reader(self._cursor.position)
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._flush_timeout = flush_timeout
        self._prepared: queue.Queue[Prepared | None] = queue.Queue(maxsize=1)
        self._draining = threading.Event()
        self._stopping = threading.Event()
        self._order = order or WriteOrder()
        self.last_error = ""
        self._threads = [
            threading.Thread(
                target=self._guard, args=(target,), name=f"{signal}-{target.__name__.strip('_')}"
            )
            for target in (self._read, self._write)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def drain(self, timeout: float) -> bool:
        """Stores what the journal holds, for at most `timeout` seconds, and stops. False if something is left;
        it stays in the journal."""
        deadline = time.monotonic() + timeout
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

    # ------------------------------------------------------------------- reading

    def _read(self) -> None:
        try:
            while not self._stopping.is_set():
                gathered = self._gather()
                if gathered is None:
                    return
                items, position = gathered
                with self._order.next_batch() as number:
                    prepare = partial(
                        self._stage.prepare,
                        items,
                        number=number,
                        stored=self._order.stored,
                        position=position,
                    )
                    self._hand_over(self._patiently(prepare))
        finally:
            self._hand_over(None)

    def _gather(self) -> tuple[list[Item], Position] | None:
        """Items for one batch and the position after them; None when there is nothing left to do."""
        items: list[Item] = []
        size = 0
        deadline = 0.0
        while not self._stopping.is_set():
            record = self._reader.next()
            now = time.monotonic()
            if record is None:
                if size and (now >= deadline or self._draining.is_set()):
                    return items, self._reader.position
                if self._draining.is_set():
                    return None
                self._reader.wait(deadline - now if size else IDLE_WAIT_S)
                continue
            deadline = deadline or now + self._flush_timeout
            size += len(record.body)
            try:
                items += self._stage.decode(record)
            except Exception as error:
                log.exception("record %d can not be decoded", record.sequence)
                self._dead_letters.keep(record, self._signal, f"can not be decoded: {error}")
            if len(items) >= self._max_items or size >= self._max_bytes or now >= deadline:
                return items, self._reader.position
        return None

    def _hand_over(self, prepared: Prepared | None) -> None:
        while not self._stopping.is_set():
            try:
                self._prepared.put(prepared, timeout=IDLE_WAIT_S)
                return
            except queue.Full:
                continue

    # ------------------------------------------------------------------- writing

    def _write(self) -> None:
        while not self._stopping.is_set():
            try:
                prepared = self._prepared.get(timeout=IDLE_WAIT_S)
            except queue.Empty:
                continue
            if prepared is None:
                return
            while not self._order.await_turn(prepared.number, IDLE_WAIT_S):
                if self._stopping.is_set():
                    return
            if self._patiently(partial(self._store, prepared)):
                self._order.advance(prepared.number)
                with self._journal.accounting:
                    self._journal.settled(prepared.position.sequence)
                self._advance(prepared.position)

    def _store(self, prepared: Prepared) -> bool:
        prepared.before_write()
        self._sink.write(prepared.batch)
        prepared.after_write()
        return True

    def _advance(self, position: Position) -> None:
        try:
            self._cursor.advance(position)
        except OSError as error:  # the next batch tries again; until then a restart stores this one once more
            self.last_error = str(error)
            log.error("the cursor of %s is not written: %s", self._signal, error)

    # ------------------------------------------------------------------- shared

    def _patiently(self, attempt: Callable[[], Result]) -> Result | None:
        """Tries until it works; None if the collector stops first, and the journal keeps what is left."""
        pause = FIRST_RETRY_S
        while True:
            try:
                result = attempt()
            except SinkError as error:
                self.last_error = str(error)
                log.warning("%s: next try in %.1f s: %s", self._signal, pause, error)
            except Exception as error:
                self.last_error = f"{type(error).__name__}: {error}"
                log.exception("%s: next try in %.1f s", self._signal, pause)
            else:
                self.last_error = ""
                return result
            if self._stopping.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311  # jitter
                return None
            pause = min(pause * 2, LONGEST_RETRY_S)

    def _guard(self, target: Callable[[], None]) -> None:
        try:
            target()
        except Exception as error:
            self.last_error = f"{type(error).__name__}: {error}"
            log.exception("%s stopped", threading.current_thread().name)
