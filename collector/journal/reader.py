"""Reads records in order, from the files alone: a backlog of any size costs no memory."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from collector.journal.record import (
    CRC_TAG,
    MAX_LENGTH_SIZE,
    CorruptError,
    Position,
    Record,
    decode,
    frame,
)

if TYPE_CHECKING:
    from collector.journal.journal import Journal

log = logging.getLogger(__name__)

CHUNK = 1 << 20


class Reader:
    """Follows a journal from a position. Used from one thread."""

    def __init__(self, journal: Journal, position: Position) -> None:
        self._journal = journal
        self._segment = position.segment
        self._sequence = position.sequence
        self._descriptor = -1
        self._buffer = b""
        self._base = position.offset
        """Offset in the file of the buffer's first byte."""
        self._at = 0
        self.corrupt_ranges = 0
        """Places where something unreadable was skipped."""

    @property
    def position(self) -> Position:
        """After the record that `next` gave last."""
        return Position(self._segment, self._base + self._at, self._sequence)

    def wait(self, timeout: float) -> None:
        """Returns when there may be more to read, at the latest after `timeout` seconds."""
        self._journal.wait_beyond(self._segment, self._base + self._at, timeout)

    def next(self) -> Record | None:
        """The next record that is safe on disk; None if there is none now. Unreadable ranges are skipped."""
        while True:
            end = self._journal.readable_end(self._segment)
            if end is not None:
                try:
                    record = self._read(end)
                except CorruptError:
                    self._skip(end)
                    continue
                if record is not None:
                    self._sequence = record.sequence + 1
                    return record
            following = self._journal.segment_after(self._segment)
            if following is None:
                return None
            if end is not None and self._base + self._at < end:
                self._count_corrupt("the segment ends within a record")
            self._open_at(following)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_at(self, segment: int) -> None:
        self.close()
        self._segment, self._base, self._at, self._buffer = segment, 0, 0, b""
        self._sequence = max(self._sequence, segment)

    def _read(self, end: int) -> Record | None:
        while True:
            found = frame(self._buffer, self._at)
            if found is not None and found[1] <= len(self._buffer):
                begin, finish = found
                record = decode(self._buffer[begin:finish])
                self._at = finish
                return record
            need = (found[1] if found else self._at + MAX_LENGTH_SIZE) - len(self._buffer)
            if not self._fill(need, end):
                return None

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
            self._descriptor = os.open(self._journal.segment_path(self._segment), os.O_RDONLY)
        size = min(max(CHUNK, need), available)
        more = os.pread(self._descriptor, size, self._base + len(self._buffer))
        self._buffer += more
        return bool(more)

    def _skip(self, end: int) -> None:
        """Goes on to the next whole record. Rare, so it simply looks through the rest of the segment."""
        self._count_corrupt("there is no record")
        self._fill(end, end)
        hit = 0
        while (hit := self._buffer.find(CRC_TAG, hit + 1)) >= 0:
            for candidate in range(hit - 1, max(0, hit - 1 - MAX_LENGTH_SIZE), -1):
                if self._is_record(candidate, hit):
                    self._at = candidate
                    return
        self._at = len(self._buffer)

    def _is_record(self, candidate: int, begin: int) -> bool:
        try:
            found = frame(self._buffer, candidate)
            if found is None or found[0] != begin or found[1] > len(self._buffer):
                return False
            decode(self._buffer[begin : found[1]])
        except CorruptError:
            return False
        return True

    def _count_corrupt(self, why: str) -> None:
        self.corrupt_ranges += 1
        path = self._journal.segment_path(self._segment)
        log.warning("%s at byte %d is skipped: %s", path.name, self._base + self._at, why)
