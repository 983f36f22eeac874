"""Reads records in order, from the files alone: a backlog of any size costs no memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from collector.journal.record import (
    CRC_TAG,
    MAX_LENGTH_SIZE,
    CorruptError,
    Position,
    Record,
    decode,
    frame,
)

CHUNK = 1 << 20

Damage = Callable[[Path, int, int], None]
"""Told of bytes of a segment that are no record: its file, where they begin and where they end."""


class Segments(Protocol):
    """Where a reader finds what it reads: a journal, or the files of one at rest."""

    def segment_path(self, segment: int) -> Path: ...

    def readable_end(self, segment: int) -> int | None:
        """Bytes of the segment that may be read; None if there is no such segment."""

    def segment_after(self, segment: int) -> int | None: ...

    def wait_beyond(self, segment: int, offset: int, timeout: float) -> None:
        """Returns when there is something after that place, at the latest after `timeout` seconds."""


def _unheeded(segment: Path, begin: int, end: int) -> None:
    return None


class Reader:
    """Follows a journal from a position. Used from one thread."""

    def __init__(self, journal: Segments, position: Position, damage: Damage = _unheeded) -> None:
        self._journal = journal
        self._damage = damage
        self.until: Position | None = None
        """Where it stops, between two records; None: where there is nothing more yet."""
        self.is_done = False
        """It has stopped: no record before `until` is left that can be read."""
        self._segment = position.segment
        self._sequence = position.sequence
        self._items = position.items
        self._descriptor = -1
        self._buffer = b""
        self._base = position.offset
        """Offset in the file of the buffer's first byte."""
        self._at = 0
        self.corrupt_ranges = 0
        """Places where something unreadable was skipped."""
        self.lost_items = 0
        """Items that should have come by now and did not: they were in damaged or missing records."""

    @property
    def position(self) -> Position:
        """After the record that `next` gave last."""
        return Position(self._segment, self._base + self._at, self._sequence, self._items)

    def wait(self, timeout: float) -> None:
        """Returns when there may be more to read, at the latest after `timeout` seconds."""
        self._journal.wait_beyond(self._segment, self._base + self._at, timeout)

    def next(self) -> Record | None:
        """The next record that is safe on disk; None if there is none now. Unreadable ranges are skipped."""
        while not self._is_at_end():
            end = self._journal.readable_end(self._segment)
            if end is not None:
                last = self._last(end)
                try:
                    record = self._read(last)
                except CorruptError:
                    self._skip(last)
                    continue
                if record is not None:
                    self._sequence = record.sequence + 1
                    self.lost_items += record.before - self._items
                    self._items = record.before + record.header.items
                    return record
            following = self._journal.segment_after(self._segment)
            if following is None:
                break
            if self._journal.readable_end(self._segment) != end:  # it has grown, and then the next was begun
                continue
            self._open_at(following)
        # Who follows a journal may not have been told of its segments yet.
        self.is_done = self.until is not None and (
            self._is_at_end() or self._journal.segment_after(self.until.segment - 1) is not None
        )
        return None

    def _is_at_end(self) -> bool:
        until = self.until
        here = self._segment, self._base + self._at
        return until is not None and here >= (until.segment, until.offset)

    def _last(self, end: int) -> int:
        """Bytes of its segment that it may read of those that anybody may."""
        until = self.until
        return min(end, until.offset) if until is not None and until.segment == self._segment else end

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_at(self, segment: int) -> None:
        self.close()
        self._segment, self._base, self._at, self._buffer = segment, 0, 0, b""
        self._sequence = max(self._sequence, segment)

    def _read(self, end: int) -> Record | None:
        """The record here; None at `end`, which always lies between two records.

        Raises:
            CorruptError: there is something else.
        """
        while True:
            found = frame(self._buffer, self._at)
            if found is not None and found[1] <= len(self._buffer):
                begin, finish = found
                record = decode(self._buffer[begin:finish])
                self._at = finish
                return record
            if self._base + self._at >= end:
                return None
            needed = found[1] if found else self._at + MAX_LENGTH_SIZE
            if found and self._base + needed > end:
                raise CorruptError
            if not self._fill(needed - len(self._buffer), end):
                raise CorruptError

    def _fill(self, need: int, end: int) -> bool:
        """Reads at least `need` more bytes, if the file has them before `end`. False: nothing more to read."""
        if self._at:
            self._base += self._at
            self._buffer = self._buffer[self._at :]
            self._at = 0
        available = end - self._base - len(self._buffer)
        if available <= 0:
            return False
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._journal.segment_path(self._segment), os.O_RDONLY)
            except FileNotFoundError:
                return False
        size = min(max(CHUNK, need), available)
        more = os.pread(self._descriptor, size, self._base + len(self._buffer))
        self._buffer += more
        return bool(more)

    def _skip(self, end: int) -> None:
        """Goes on to the next whole record. Rare, so it simply looks through the rest of the segment."""
        begin = self._base + self._at
        self._fill(end, end)
        following = self._next_record()
        if following is None:
            self._base, self._at, self._buffer = end, 0, b""
        else:
            self._at = following
        self.corrupt_ranges += 1
        self._damage(self._journal.segment_path(self._segment), begin, self._base + self._at)

    def _next_record(self) -> int | None:
        hit = 0
        while (hit := self._buffer.find(CRC_TAG, hit + 1)) >= 0:
            for candidate in range(hit - 1, max(0, hit - 1 - MAX_LENGTH_SIZE), -1):
                if self._is_record(candidate, hit):
                    return candidate
        return None

    def _is_record(self, candidate: int, begin: int) -> bool:
        try:
            found = frame(self._buffer, candidate)
            if found is None or found[0] != begin or found[1] > len(self._buffer):
                return False
            decode(self._buffer[begin : found[1]])
        except CorruptError:
            return False
        return True
