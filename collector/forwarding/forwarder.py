"""From a journal to one sink that telemetry is passed on to: read, prepare, send, advance a cursor of its own.

One thread for each sink and signal, so that who is slow holds up nobody else. What can not be sent now waits in the
journal, but no more than so much of it: a target that is away for long costs its own data and nobody's disk.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from collector.forwarding.passage import Parcel, Prepare
from collector.journal import Cursor, Position, Readable, Record
from collector.telemetry.operations import Operation
from sinks.base import BusyError, Outlet, PermanentError, SinkError

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
IDLE_WAIT_S = 0.5
LOOK_S = 0.1
DEAD_AFTER_S = 30.0
"""Who takes nothing for so long keeps no data of deleted runs in the journal."""


@dataclass(slots=True)
class Told:
    """What became of one signal's items at one sink since this process started."""

    sent: int = 0
    rejected: int = 0
    """Of these: those that the target took the request of, and not them."""
    failed: int = 0
    """Never to be taken: the target refused the request for good, or it can not be read."""
    given_up: int = 0
    """More was waiting than may."""
    retries: int = 0
    last_error: str = ""


class Forwarder:
    """Sends one journal's records to one sink, in order, each at least once.

    Args:
        cursor: this sink's in the journal.
        max_items, max_bytes: of one request, but a record is never cut.
        flush_timeout: seconds after which a request that is not full is sent.
        max_waiting_bytes: of the journal that are kept for this sink.
    """

    def __init__(
        self,
        name: str,
        signal: str,
        journal: Readable,
        cursor: Cursor,
        passage: Prepare,
        outlet: Outlet,
        operation: Operation | None = None,
        *,
        max_items: int,
        max_bytes: int,
        flush_timeout: float,
        max_waiting_bytes: int,
    ) -> None:
        self.name = name
        self.signal = signal
        self.told = Told()
        self._journal = journal
        self._cursor = cursor
        self._passage = passage
        self._outlet = outlet
        self._operation = operation or Operation()
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._flush_timeout = flush_timeout
        self._max_waiting_bytes = max_waiting_bytes
        self._reader = journal.reader(cursor.position)
        self._lost = 0
        self._failing_since = 0.0
        self._draining = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"forward-{name}-{signal}")

    def start(self) -> None:
        self._thread.start()

    def drain(self, deadline: float) -> bool:
        """Sends what the journal holds until then (`time.monotonic`), and stops; who takes nothing now is not waited
        for. False if something is left; it is sent at the next start."""
        self._draining.set()
        if self._thread.ident is None:
            return True
        while self._thread.is_alive() and not self._failing_since and time.monotonic() < deadline:
            self._thread.join(min(LOOK_S, max(0.0, deadline - time.monotonic())))
        drained = not self._thread.is_alive()
        self._stopping.set()
        if not drained:
            self._outlet.close()  # whoever is waited for
        self._thread.join()
        self._reader.close()
        return drained

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting_bytes(self) -> int:
        """Of the journal, not sent yet."""
        return self._journal.bytes_after(self._cursor.position)

    @property
    def waiting_items(self) -> int:
        return max(0, self._journal.acknowledged_items - self._cursor.position.items)

    # ------------------------------------------------------------------- reading

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._give_up_too_much()
                records = self._gather()
                if records is None:
                    return
                self._send(records)
            except Exception as error:  # nobody else is to notice
                log.exception("%s: passing on %s failed", self.name, self.signal)
                self.told.last_error = f"{type(error).__name__}: {error}"
                self._stopping.wait(LONGEST_RETRY_S)
                self._reader.close()
                self._reader = self._journal.reader(self._cursor.position)
                self._lost = 0

    def _gather(self) -> list[Record] | None:
        """What is sent at once; None when there is nothing left to do."""
        records: list[Record] = []
        items = size = 0
        deadline = 0.0
        while not self._stopping.is_set():
            record = self._reader.next()
            now = time.monotonic()
            if record is None:
                if records and (now >= deadline or self._draining.is_set()):
                    return records
                if self._draining.is_set():
                    return None
                self._reader.wait(deadline - now if records else IDLE_WAIT_S)
                continue
            deadline = deadline or now + self._flush_timeout
            records.append(record)
            items += record.header.items
            size += len(record.body)
            if items >= self._max_items or size >= self._max_bytes or now >= deadline:
                return records
        return None

    # ------------------------------------------------------------------- sending

    def _send(self, records: Sequence[Record]) -> None:
        for parcel in self._parcels(records):
            if not self._deliver(parcel):
                if self._stopping.is_set():
                    return  # it stays in the journal
                self.told.given_up += parcel.items
        self.told.given_up += self._reader.lost_items - self._lost
        self._lost = self._reader.lost_items
        self._cursor.advance(self._reader.position)

    def _parcels(self, records: Sequence[Record]) -> list[Parcel]:
        try:
            return self._passage.parcels(records)
        except ValueError:
            found: list[Parcel] = []  # one of them is to blame
            for record in records:
                try:
                    found += self._passage.parcels([record])
                except ValueError as error:
                    self._failed(record.header.items, str(error))
            return found

    def _deliver(self, parcel: Parcel) -> bool:
        """False if it was neither taken nor refused: the collector ends, or too much waits."""
        pause = FIRST_RETRY_S
        told = {"items": parcel.items, "bytes": len(parcel.body)}
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                rejected = self._outlet.send(self.signal, parcel.body, parcel.project)
            except PermanentError as error:
                self._operation.failed(time.monotonic() - began, "refused for good", told, parcel.body)
                self._failed(parcel.items, str(error))
                return True
            except SinkError as error:
                self._operation.failed(time.monotonic() - began, "to be tried again", told, parcel.body)
                if not self.told.last_error:
                    log.warning("%s: passing on %s is tried again: %s", self.name, self.signal, error)
                self.told.last_error = str(error)
                self.told.retries += 1
                self._failing_since = self._failing_since or time.monotonic()
                after_s = error.after_s if isinstance(error, BusyError) else 0.0
                # Full jitter, but never before the target wants to hear of us again.
                self._stopping.wait(after_s + random.uniform(0, pause))  # noqa: S311
                pause = min(pause * 2, LONGEST_RETRY_S)
                if self._place_to_go_on() is not None:
                    return False
                continue
            self._operation.took(time.monotonic() - began, told, parcel.body)
            self._failing_since = 0.0
            self.told.sent += parcel.items
            self.told.rejected += rejected.items
            self.told.last_error = rejected.why if rejected.items else ""
            return True
        return False

    def _failed(self, items: int, why: str) -> None:
        log.warning("%s: %d items of %s are not passed on: %s", self.name, items, self.signal, why)
        self.told.failed += items
        self.told.last_error = why

    # ------------------------------------------------------------------- giving up

    def _place_to_go_on(self) -> Position | None:
        """Where it has to go on, further ahead, so that it is in nobody's way; None: it may stay."""
        journal, here = self._journal, self._cursor.position
        place, stored = here, journal.counted
        if self._is_dead and here.sequence < journal.wanted_gone:
            place = journal.end  # of a deleted run nothing may be left
        elif journal.bytes_after(here) > self._max_waiting_bytes:
            place = journal.newest_within(self._max_waiting_bytes // 2)
        elif here.segment < stored.segment and journal.room():
            place = replace(stored, offset=0, sequence=stored.segment)
        return place if (place.segment, place.offset) > (here.segment, here.offset) else None

    @property
    def _is_dead(self) -> bool:
        return bool(self._failing_since) and time.monotonic() - self._failing_since > DEAD_AFTER_S

    def _give_up_too_much(self) -> None:
        """Skips what waits, the oldest first, as far as needed."""
        position, here = self._place_to_go_on(), self._reader.position
        if position is None or (position.segment, position.offset) <= (here.segment, here.offset):
            return
        log.error("%s: too many %s wait for it: the oldest are not passed on", self.name, self.signal)
        self._reader.close()
        # The next record tells how many there were before it, and so how many were skipped.
        self._reader = self._journal.reader(replace(position, items=here.items))
        self._lost = 0
        self._cursor.advance(replace(position, items=here.items))
