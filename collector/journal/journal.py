"""The segment log of one signal: appends with group commit, recovers after a crash, forgets what is stored."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from collector.journal.cursor import Cursor
from collector.journal.reader import Reader
from collector.journal.record import Header, Position, encode

log = logging.getLogger(__name__)

Done = Callable[[Exception | None], None]
"""Told once how an append ended: None when the acknowledgement level is reached, else why it is not."""

MAX_PIECES = 512
"""Buffers given to one `writev`; the system's limit is 1024."""


class JournalError(Exception):
    """The journal can not take a record now; the same record may be taken later."""


class JournalFullError(JournalError):
    """Too much waits for the disk."""


class JournalLockedError(JournalError):
    """Another process has the journal open."""


@dataclass(slots=True)
class _Entry:
    header: Header
    body: bytes
    done: Done


class Journal:
    """Records of one signal in a directory of segments.

    Args:
        segment_bytes: a segment that would grow beyond this is closed and a new one begun.
        ack: `fsync`: done means on the disk; `write`: handed to the system; `memory`: queued.
        max_queue_bytes: bodies that may wait for the disk.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = 64 << 20,
        ack: Literal["fsync", "write", "memory"] = "fsync",
        max_queue_bytes: int = 256 << 20,
    ) -> None:
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._ack = ack
        self._max_queue_bytes = max_queue_bytes
        self._lock_descriptor = -1
        self._cursors: list[Cursor] = []
        self._segments: list[int] = []
        """First sequences of the segments, oldest first; the last is written to."""
        self._ends: dict[int, int] = {}
        """Bytes of each segment that may be read."""
        self._descriptor = -1
        self.next_sequence = 1
        self._queue: list[_Entry] = []
        self._queued_bytes = 0
        self._closing = False
        self._queue_changed = threading.Condition()
        self._readable_changed = threading.Condition()
        self._writer = threading.Thread(target=self._write_loop, name=f"journal-{directory.name}")

    # ------------------------------------------------------------------- life

    def open(self) -> None:
        """Locks the directory, recovers what is there, starts to take records.

        Raises:
            JournalLockedError: another process has it.
            OSError: the directory can not be used.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1
            raise JournalLockedError(f"{self.directory} is in use") from error
        self._segments = sorted(int(path.stem) for path in self.directory.glob("*.seg"))
        self._ends = {segment: self.segment_path(segment).stat().st_size for segment in self._segments}
        if self._segments:
            self._recover(self._segments[-1])
        self._writer.start()

    def close(self) -> None:
        """Writes what waits, and lets the directory go. Closing again does nothing."""
        if self._lock_descriptor < 0:
            return
        with self._queue_changed:
            self._closing = True
            self._queue_changed.notify()
        self._writer.join()
        self._close_segment()
        for cursor in self._cursors:
            cursor.close()
        os.close(self._lock_descriptor)
        self._lock_descriptor = -1

    def _recover(self, segment: int) -> None:
        """Cuts what a crash left half written off the last segment and finds the next sequence."""
        path = self.segment_path(segment)
        good, self.next_sequence = 0, segment
        reader = Reader(self, Position(segment, 0, segment))
        while (record := reader.next()) is not None:
            good, self.next_sequence = reader.position.offset, record.sequence + 1
        reader.close()
        if good < self._ends[segment]:
            log.warning(
                "%s: an unfinished record of %d bytes is cut off", path.name, self._ends[segment] - good
            )
            os.truncate(path, good)
            self._ends[segment] = good
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    # ------------------------------------------------------------------- appending

    def append(self, header: Header, body: bytes, done: Done) -> None:
        """Queues a record; `done` is called from the journal's thread.

        Raises:
            JournalFullError: too much waits already; nothing was queued.
            JournalError: the journal is closed.
        """
        with self._queue_changed:
            if self._closing:
                raise JournalError("the journal is closed")
            if self._queued_bytes and self._queued_bytes + len(body) > self._max_queue_bytes:
                raise JournalFullError("too much waits for the disk")
            self._queue.append(_Entry(header, body, done))
            self._queued_bytes += len(body)
            self._queue_changed.notify()
        if self._ack == "memory":
            done(None)

    def _write_loop(self) -> None:
        while True:
            with self._queue_changed:
                while not self._queue and not self._closing:
                    self._queue_changed.wait()
                entries, self._queue, self._queued_bytes = self._queue, [], 0
                if not entries:
                    return
            while entries:
                entries = self._write_group(entries)

    def _write_group(self, entries: list[_Entry]) -> list[_Entry]:
        """Writes and syncs what fits in the segment; returns the rest."""
        error: Exception | None = None
        group: list[_Entry] = []
        try:
            size = self._begin_segment(len(entries[0].body))
            pieces: list[bytes] = []
            for entry in entries:
                if group and size + len(entry.body) > self._segment_bytes:
                    break
                record = encode(self.next_sequence + len(group), entry.header, entry.body)
                size += sum(map(len, record))
                pieces += record
                group.append(entry)
            self._write(pieces)
            if self._ack == "fsync":
                os.fdatasync(self._descriptor)
        except OSError as failure:
            log.error("%s: not written: %s", self.directory.name, failure)
            error = JournalError(f"the journal can not be written: {failure.strerror}")
            error.__cause__ = failure
            group = group or entries[:1]
            self._abandon_segment()
        else:
            self.next_sequence += len(group)
            with self._readable_changed:
                self._ends[self._segments[-1]] = size
                self._readable_changed.notify_all()
        if self._ack != "memory":
            for entry in group:
                entry.done(error)
        return entries[len(group) :]

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
        self._descriptor = os.open(self.segment_path(segment), flags, 0o600)
        with self._readable_changed:
            self._ends[segment] = 0
            self._segments.append(segment)
        self._sync_directory()
        return 0

    def _abandon_segment(self) -> None:
        """After a failed write or sync: nothing more goes to this file, and what was refused leaves it."""
        if self._descriptor < 0:
            return
        try:
            os.ftruncate(self._descriptor, self._ends[self._segments[-1]])
        except OSError as error:
            log.error("%s: the segment can not be cut back: %s", self.directory.name, error)
        if not self._ends[self._segments[-1]]:
            return  # still empty: its name is the next sequence, so it is used again
        self._close_segment()

    def _close_segment(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _sync_directory(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # ------------------------------------------------------------------- reading

    def cursor(self, name: str) -> Cursor:
        """The cursor of that name; at the oldest record if there is none yet."""
        oldest = self._segments[0] if self._segments else self.next_sequence
        cursor = Cursor(self.directory / f"{name}.cursor", Position(oldest, 0, oldest), self._release)
        self._cursors.append(cursor)
        place = cursor.position
        if place.segment in self._ends:
            # Damage may have cut the segment before what the sink has already.
            cursor.position = replace(place, offset=min(place.offset, self._ends[place.segment]))
        elif not self._segments or place.segment > self._segments[-1]:
            # Segments are missing. Count on, in a segment that lies after the cursor.
            self.next_sequence = max(self.next_sequence, place.sequence)
            self._close_segment()
            cursor.position = Position(self.next_sequence, 0, self.next_sequence)
        return cursor

    def reader(self, position: Position) -> Reader:
        """A reader that begins at `position`."""
        return Reader(self, position)

    def segment_path(self, segment: int) -> Path:
        return self.directory / f"{segment:020d}.seg"

    def readable_end(self, segment: int) -> int | None:
        """Bytes of the segment that may be read; None if there is no such segment."""
        with self._readable_changed:
            return self._ends.get(segment)

    def segment_after(self, segment: int) -> int | None:
        with self._readable_changed:
            return next((later for later in self._segments if later > segment), None)

    def wait_beyond(self, segment: int, offset: int, timeout: float) -> None:
        """Returns when there is something after that place, at the latest after `timeout` seconds."""
        with self._readable_changed:
            self._readable_changed.wait_for(
                lambda: (
                    self._ends.get(segment, 0) > offset
                    or bool(self._segments and self._segments[-1] > segment)
                ),
                timeout,
            )

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        with self._readable_changed:
            return sum(self._ends.values())

    def _release(self) -> None:
        """Unlinks segments that every cursor has passed."""
        needed = min(cursor.position.segment for cursor in self._cursors)
        with self._readable_changed:
            passed = [segment for segment in self._segments[:-1] if segment < needed]
            self._segments = [segment for segment in self._segments if segment not in passed]
            for segment in passed:
                del self._ends[segment]
        for segment in passed:
            self.segment_path(segment).unlink(missing_ok=True)
        if passed:
            self._sync_directory()
