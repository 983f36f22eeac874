"""The segment log of one signal: appends with group commit, recovers after a crash, forgets what is stored."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import threading
import time
from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Literal

from collector.journal.cursor import Cursor
from collector.journal.readable import Readable, segment_name, segments_in
from collector.journal.reader import Reader
from collector.journal.record import Header, Place, Position, encode
from collector.journal.room import Room

log = logging.getLogger(__name__)

Done = Callable[[Exception | None], None]
"""Told once how an append ended: None when the acknowledgement level is reached, else why it is not."""

SEGMENTS_WITHIN = 8
"""Segments leave whole, so that there must be several of them within the bound of what waits."""
MAX_PIECES = 512
"""Buffers given to one `writev`; the system's limit is 1024."""
FAILURES_IN_A_ROW = 3
STUCK_S = 10.0
"""A write that takes so long may never end."""
FAILING_S = 10.0
"""After so many failures in a row the journal calls itself unwell, for so long after the last one."""


class JournalError(Exception):
    """The journal can not take a record now; the same record may be taken later."""


class JournalFullError(JournalError):
    """There is no room: too much waits for the disk or for the store, or the disk is full."""


class JournalLockedError(JournalError):
    """Another process has the journal open."""


@dataclass(slots=True)
class _Entry:
    header: Header
    body: bytes
    done: Done


class Journal(Readable):
    """Records of one signal in a directory of segments.

    Args:
        segment_bytes: a segment that would grow beyond this is closed and a new one begun.
        ack: `sink`: done means stored by the sink; `fsync`: on the disk; `write`: handed to the system;
            `memory`: queued.
        max_queue_bytes: bodies that may wait for the disk.
        max_bytes, min_free_bytes: see `Room`.
        on_full: what happens at `max_bytes`: records are refused, or the oldest segments are given up. What was in
            them counts as lost once the readers come to where it was.
        mask: what may be kept of bytes that can not be read.
        followed: another process reads it and keeps its cursors; what stands in their files is left to that one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = 64 << 20,
        ack: Literal["sink", "fsync", "write", "memory"] = "fsync",
        max_queue_bytes: int = 256 << 20,
        max_bytes: int = 0,
        min_free_bytes: int = 0,
        on_full: Literal["refuse", "drop_oldest"] = "refuse",
        mask: Callable[[bytes], bytes] = lambda damaged: damaged,
        followed: bool = False,
    ) -> None:
        super().__init__(directory, mask)
        self._segment_bytes = min(segment_bytes, max_bytes // SEGMENTS_WITHIN) if max_bytes else segment_bytes
        self._room = Room(directory, max_bytes, min_free_bytes)
        self._drops = on_full == "drop_oldest"
        self._ack = ack
        self._is_followed = followed
        self._max_queue_bytes = max_queue_bytes
        self._lock_descriptor = -1
        self._descriptor = -1
        self._unsettled: dict[int, _Entry] = {}
        """With `ack: sink`: what is written and waits for the sink, by its sequence, in order."""
        self._failures = 0
        self._failed_at = 0.0
        self._rotate = False
        self._queue: list[_Entry] = []
        self._closing = False
        self._busy_since = 0.0
        """When what is being written was begun; 0: nothing is."""
        self._queue_changed = threading.Condition()
        self._writer = threading.Thread(target=self._write_loop, name=f"journal-{directory.name}")

    # ------------------------------------------------------------------- life

    def open(self) -> None:
        """Locks the directory, recovers what is there, starts to take records.

        Raises:
            JournalLockedError: another process has it.
            OSError: the directory can not be used.
        """
        self.directory.parent.mkdir(
            parents=True, exist_ok=True, mode=0o700
        )  # not the owner's alone if made with it
        self.directory.mkdir(exist_ok=True, mode=0o700)
        self._lock_descriptor = lock(self.directory)
        self.id = self._identity()
        self._segments = segments_in(self.directory)
        self._ends = {segment: self.segment_path(segment).stat().st_size for segment in self._segments}
        if self._segments:
            self._recover(self._segments[-1])
        self.acknowledged_items = self.inherited_items = self.next_items
        self._room.open()
        self._writer.start()

    def close(self) -> None:
        """Writes what waits, and lets the directory go, whatever the disk says. Closing again does nothing."""
        if self._lock_descriptor < 0:
            return
        with self._queue_changed:
            self._closing = True
            self._queue_changed.notify()
        self._writer.join()
        self._close_segment()
        with self.accounting:
            unsettled, self._unsettled = self._unsettled, {}
            for entry in unsettled.values():
                self._tell(entry, JournalError("the collector ends before the store has it"))
        all_stored = not self._is_followed and self._all_stored()
        for cursor in self._cursors:
            with self._noting("the cursor is not sealed"):
                if all_stored:
                    cursor.seal()
            with self._noting("the cursor is not synced"):
                cursor.close()
        if all_stored:
            self._release()
            with self._noting("no segment is begun"):
                self._begin_segment(0)  # its name says where to go on
            self._close_segment()
        os.close(self._lock_descriptor)
        self._lock_descriptor = -1

    def _recover(self, segment: int) -> None:
        """Cuts what a crash left half written off the last segment and finds the next sequence."""
        path = self.segment_path(segment)
        good, self.next_sequence = 0, segment
        reader = Reader(self, Position(segment, 0, segment))
        while (record := reader.next()) is not None:
            good, self.next_sequence = reader.position.offset, record.sequence + 1
            self.next_items = record.before + record.header.items
        reader.close()
        if not good:
            # Nothing in it can be read, so the newest before it that can says how far we were.
            earlier = map(self._items_at_end_of, reversed(self._segments[:-1]))
            self.next_items = next(filter(None, earlier), 0)
        if good < self._ends[segment]:
            self.quarantine.keep(path, good, self._ends[segment])
            os.truncate(path, good)
            self._ends[segment] = good
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    def _items_at_end_of(self, segment: int) -> int:
        reader = Reader(_Alone(self, segment), Position(segment, 0, segment))
        while reader.next() is not None:
            pass
        reader.close()
        return reader.position.items

    def _identity(self) -> str:
        file = self.directory / "id"
        try:
            identity = file.read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            identity = ""
        if not identity:
            identity = secrets.token_hex(8)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as opened:
                opened.write(identity + "\n")
                opened.flush()
                os.fsync(descriptor)
        return identity

    # ------------------------------------------------------------------- appending

    def append(self, header: Header, body: bytes, done: Done) -> None:
        """Queues a record; `done` is called from the journal's thread.

        Raises:
            JournalFullError: too much waits already; nothing was queued.
            JournalError: the journal is closed.
        """
        while self._drops and self._room.is_over(self.waiting_bytes) and self._drop_oldest():
            pass
        if refusal := self._room.refusal(self.waiting_bytes):
            raise JournalFullError(refusal)
        with self._queue_changed:
            if self._closing:
                raise JournalError("the journal is closed")
            if self._queued_bytes and self._queued_bytes + len(body) > self._max_queue_bytes:
                raise JournalFullError("too much waits for the disk")
            self._queue.append(_Entry(header, body, done))
            self._queued_bytes += len(body)
            self._queue_changed.notify()
        if self._ack == "memory":
            with self.accounting:
                self.acknowledged_items += header.items
                done(None)

    def room(self) -> str:
        """Why nothing is taken now; "" if a record would be."""
        failing = self._failures >= FAILURES_IN_A_ROW and time.monotonic() - self._failed_at < FAILING_S
        return "the journal can not be written" if failing else self._room.refusal(self.waiting_bytes)

    def is_moving(self) -> bool:
        """Whether what is queued gets to the disk, as far as can be seen."""
        busy_since = self._busy_since
        return self._writer.is_alive() and not (busy_since and time.monotonic() - busy_since > STUCK_S)

    def rotate(self) -> None:
        """Begins a new segment, so that what was written can be let go of once it is stored."""
        with self._queue_changed:
            self._rotate = True
            self._queue_changed.notify()

    def settled(self, first: int, beyond: int) -> None:
        """Called by the sink's side, with `accounting` held: every record from the sequence `first` on, and before
        `beyond`, is stored."""
        waiting = takewhile(lambda sequence: sequence < beyond, self._unsettled)
        for sequence in [sequence for sequence in waiting if sequence >= first]:
            entry = self._unsettled.pop(sequence)
            self.acknowledged_items += entry.header.items
            self._tell(entry, None)

    def _write_loop(self) -> None:
        while True:
            with self._queue_changed:
                while not (self._queue or self._closing or self._rotate):
                    self._queue_changed.wait()
                entries, self._queue, self._queued_bytes = self._queue, [], 0
                rotate, self._rotate = self._rotate, False
                if not entries and not rotate:
                    return
            if rotate:
                self._close_segment()
                self._release()
            while entries:
                self._busy_since = time.monotonic()
                entries = self._write_group(entries)
            self._busy_since = 0.0

    def _write_group(self, entries: list[_Entry]) -> list[_Entry]:
        """Writes and syncs what fits in the segment; returns the rest."""
        error: Exception | None = None
        group: list[_Entry] = []
        try:
            size = self._begin_segment(len(entries[0].body))
            pieces: list[bytes] = []
            items = self.next_items
            for entry in entries:
                if group and size + len(entry.body) > self._segment_bytes:
                    break
                record = encode(self.next_sequence + len(group), entry.header, entry.body, before=items)
                items += entry.header.items
                size += sum(map(len, record))
                pieces += record
                group.append(entry)
            self._write(pieces)
            if self._ack in ("fsync", "sink"):
                began = time.monotonic()
                os.fdatasync(self._descriptor)
                self.sync_seconds(time.monotonic() - began)
        except Exception as failure:
            expected = isinstance(failure, OSError)
            log.error("%s: not written: %s", self.directory.name, failure, exc_info=not expected)
            said = failure.strerror if isinstance(failure, OSError) else type(failure).__name__
            error = JournalError(f"the journal can not be written: {said}")
            error.__cause__ = failure
            group = group or entries[:1]
            self._abandon_segment()
            self._failures += 1
            self._failed_at = time.monotonic()
            if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
                self._room.disk_is_full()
        else:
            self._failures = 0
            first = self.next_sequence
            if self._ack == "sink":
                with self.accounting:
                    self._unsettled.update(enumerate(group, first))
            with self._readable_changed:
                self.next_sequence += len(group)
                self.next_items = items
                self._ends[self._segments[-1]] = size
                self._readable_changed.notify_all()
        if self._ack in ("fsync", "write") or (self._ack == "sink" and error is not None):
            with self.accounting:
                for entry in group:
                    if error is None:
                        self.acknowledged_items += entry.header.items
                    self._tell(entry, error)
        elif error is not None:  # acknowledged, and lost: that is what the level means
            with self.accounting:
                self.acknowledged_items -= sum(entry.header.items for entry in group)
                self.lost_items += sum(entry.header.items for entry in group)
        return entries[len(group) :]

    def _tell(self, entry: _Entry, error: Exception | None) -> None:
        """A fault of who is told must not keep what others sent from the disk."""
        try:
            entry.done(error)
        except Exception:
            log.exception("%s: who sent a record was not told of it", self.directory.name)

    def _write(self, pieces: list[bytes]) -> None:
        """Raises: OSError, also when the disk takes only a part."""
        for start in range(0, len(pieces), MAX_PIECES):
            some = pieces[start : start + MAX_PIECES]
            wanted = sum(map(len, some))
            written = os.writev(self._descriptor, some)
            if written < wanted:
                rest = memoryview(b"".join(some))[written:]
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]

    def _begin_segment(self, needed: int) -> int:
        """Makes sure that a segment is open which takes `needed` more bytes; returns its size."""
        size = self._ends[self._segments[-1]] if self._descriptor >= 0 else 0
        if self._descriptor >= 0 and (not size or size + needed <= self._segment_bytes):
            return size
        self._close_segment()
        segment = self.next_sequence
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        path = self.segment_path(segment)
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except FileExistsError:  # it could not be unlinked; nothing in it was acknowledged
            path.unlink()
            self._descriptor = os.open(path, flags, 0o600)
        with self._readable_changed:
            if segment not in self._ends:
                self._segments.append(segment)
            self._ends[segment] = 0
        sync_directory(self.directory)
        return 0

    def _abandon_segment(self) -> None:
        """After a failed write or sync: nothing more goes to this file, and what was refused leaves it.

        What the system says of a file after a failed sync can not be trusted, so it is never synced again.
        """
        if self._descriptor < 0:
            return
        segment = self._segments[-1]
        kept = self._ends[segment]
        try:
            os.ftruncate(self._descriptor, kept)
        except OSError as error:
            log.error("%s: the segment can not be cut back: %s", self.directory.name, error)
        self._close_segment()
        if not kept:
            # Its name is the next sequence, which the next segment needs.
            with self._readable_changed:
                self._segments.pop()
                del self._ends[segment]
            with self._noting("the segment is not unlinked"):
                self.segment_path(segment).unlink(missing_ok=True)

    def _close_segment(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with self._noting("the segment is not closed"):
                os.close(descriptor)

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """The log hears of what the disk does not do; nothing else depends on it."""
        try:
            yield
        except OSError as error:
            log.error("%s: %s: %s", self.directory.name, what, error)

    # ------------------------------------------------------------------- reading

    def cursor(self, name: str, *, counts: bool = True) -> Cursor:
        """To be asked for the first time before anything is appended: where segments are missing, it decides where the
        next record goes."""
        if known := next((cursor for cursor in self._cursors if cursor.name == name), None):
            return known
        oldest = self._segments[0] if self._segments else self.next_sequence
        start = Position(oldest, 0, oldest)
        cursor = Cursor(self.directory / f"{name}.cursor", start, self._release, counts=counts)
        self._cursors = [*self._cursors, cursor]
        place = cursor.position
        if place == start:
            all_before = cursor.told.sequence == start.sequence  # and let go since
            items = cursor.told.items if all_before else self._items_before(start)
            cursor.position = replace(start, items=items)
        elif place.segment in self._ends:
            # Damage may have cut the segment before what the sink has already.
            cursor.position = replace(place, offset=min(place.offset, self._ends[place.segment]))
        elif not self._segments or place.segment > self._segments[-1]:
            # Segments are missing. Count on, in a segment that lies after the cursor.
            self.next_sequence = max(self.next_sequence, place.sequence)
            self._close_segment()
            cursor.position = replace(
                place, segment=self.next_sequence, offset=0, sequence=self.next_sequence
            )
        if cursor.ahead is not None and cursor.ahead.end > self.end:
            # Damage has cut off what is stored ahead. All that is left is stored once more, and what comes goes
            # elsewhere: no two ranges may ever look alike.
            self.next_sequence = max(self.next_sequence, cursor.ahead.end.sequence)
            cursor.ahead = None
            self._close_segment()
        self.next_items = max(self.next_items, cursor.position.items)
        self.acknowledged_items = max(self.acknowledged_items, self.next_items)
        self.inherited_items = max(self.inherited_items, cursor.position.items)
        return cursor

    def keep_segments_below(self, size_bytes: int) -> None:
        """Segments that are begun from now on are no larger than that."""
        self._segment_bytes = min(self._segment_bytes, size_bytes)

    def bound(self, *, max_bytes: int, min_free_bytes: int, max_queue_bytes: int) -> None:
        """Other bounds from now on; segments do not grow with them."""
        if max_bytes:
            self.keep_segments_below(max_bytes // SEGMENTS_WITHIN)
        self._room.bound(max_bytes, min_free_bytes)
        self._max_queue_bytes = max_queue_bytes

    def _items_before(self, start: Position) -> int:
        reader = Reader(self, start)
        record = reader.next()
        reader.close()
        return record.before if record else self.next_items

    def reached(self, places: Mapping[str, Place], *, passed: bool) -> None:
        """Who follows the journal says where its cursors are, and whether segments were passed for good."""
        known = {cursor.name: cursor for cursor in self._cursors}
        for cursor in self._cursors:
            if cursor.name not in places:
                cursor.close()
        self._cursors = [self._placed(known.get(name), name, place) for name, place in places.items()]
        if passed:
            self._release()

    def _placed(self, cursor: Cursor | None, name: str, place: Place) -> Cursor:
        if cursor is None:  # of who came since this was opened; the follower has made its file
            cursor = Cursor(
                self.directory / f"{name}.cursor", place.position, self._release, counts=place.counts
            )
        cursor.position = place.position
        return cursor

    def _all_stored(self) -> bool:
        """Every cursor is at the end of what there is."""
        last = self._segments[-1] if self._segments else 0
        return bool(last and self._cursors and self._ends[last]) and all(
            cursor.position.segment == last and cursor.position.offset >= self._ends[last]
            for cursor in self._cursors
        )

    def _passed(self) -> None:
        self._release()

    def _release(self) -> None:
        """Unlinks segments that every cursor has passed. Those that can not be unlinked stay for the next time."""
        needed = min((cursor.position for cursor in self._cursors), default=None)
        if needed is None:
            return
        with self._readable_changed:
            passed = [segment for segment in self._segments if segment < needed.segment]
            if self._segments and self._descriptor < 0 and needed.offset >= self._ends.get(needed.segment, 1):
                passed.append(needed.segment)
            passed = [segment for segment in passed if segment in self._ends]
            self._segments = [segment for segment in self._segments if segment not in passed]
            ends = {segment: self._ends.pop(segment) for segment in passed}
        for segment, end in ends.items():
            self._unlink(segment, end)
        if ends:
            with self._noting("the directory is not synced"):
                sync_directory(self.directory)

    def _unlink(self, segment: int, end: int) -> bool:
        """Unlinks a segment that nobody knows any more. One that can not be unlinked is known again: what is in it is
        still on the disk."""
        try:
            self.segment_path(segment).unlink(missing_ok=True)
        except OSError as error:
            log.error("%s: %s stays: %s", self.directory.name, segment_name(segment), error)
        else:
            return True
        with self._readable_changed:
            if segment not in self._ends:
                insort(self._segments, segment)
                self._ends[segment] = end
        return False

    def _drop_oldest(self) -> bool:
        """Gives up the oldest segment; False if there is only the one that is written to."""
        with self._readable_changed:
            if len(self._segments) < 2:
                return False
            oldest = self._segments.pop(0)
            end = self._ends.pop(oldest)
        if not self._unlink(oldest, end):
            return False
        self.dropped_segments += 1
        log.error("%s: full: the oldest segment %s is given up", self.directory.name, segment_name(oldest))
        return True


def lock(directory: Path) -> int:
    """Locks the directory of a journal against others, until the descriptor that is returned is closed.

    Raises:
        JournalLockedError: another process has it.
        OSError: the directory can not be used.
    """
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise JournalLockedError(f"{directory} is in use") from error
    return descriptor


def sync_directory(directory: Path) -> None:
    """Makes durable which files it has.

    Raises: OSError.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Alone:
    """One segment of a journal, as if there were no other."""

    def __init__(self, journal: Journal, segment: int) -> None:
        self._journal = journal
        self._segment = segment
        self.segment_path = journal.segment_path
        self.wait_beyond = journal.wait_beyond

    def readable_end(self, segment: int) -> int | None:
        return self._journal.readable_end(segment) if segment == self._segment else None

    def segment_after(self, segment: int) -> int | None:
        return None
