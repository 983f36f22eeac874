"""How far a sink has come, in two slots of one file that are written in turn: a torn write spoils only one."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from collector.journal.record import NOWHERE, Position, Stretch

SINK_CURSOR = "sink"
"""The cursor of a pipeline in its journal."""
SLOT_SIZE = 4096
_SLOT = struct.Struct("<18Q")
"""Generation, position (segment, offset, sequence, items), the same of the intent (zeros: none), attempts, the same of
where what is stored ahead begins and ends (zeros: nothing is)."""
_CRC = struct.Struct("<I")


class Cursor:
    """The position after the last record that a sink has stored, and the batch that is being stored.

    While much waits, records that came later may be stored before it: the stretch `ahead`, which begins after the
    position and is passed over when that comes to it. Both are written down at once.

    The end of a batch is written down before the batch goes to the sink. After a crash the same range is read
    as one batch again, so that it carries the same deduplication token, and a range that brings the process
    down each time is recognised.

    `released` is called when the position has left a segment, so that the journal can let go of what lies before.
    """

    def __init__(
        self, path: Path, start: Position, released: Callable[[], None], *, counts: bool = True
    ) -> None:
        self.name = path.stem
        self.counts = counts
        """Whether what it has not passed is what the journal waits for, and refuses more for in the end."""
        self._released = released
        self._generation = 0
        self.position = start
        self.ahead: Stretch | None = None
        """Stored, or about to be, though not all before it is."""
        self.intent: Position | None = None
        """Where the batch ends that was being stored; None if there was none. It is one of `ahead` if it ends beyond
        its beginning."""
        self.attempts = 0
        """How often that batch was begun."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if os.fstat(self._descriptor).st_size < 2 * SLOT_SIZE:
            # Both slots take their place on the disk now: moving on must work when it is full.
            os.pwrite(self._descriptor, bytes(2 * SLOT_SIZE), 0)
            os.fdatasync(self._descriptor)
        self._load()
        self.told = self.position
        """What the file says, even if the segment is gone."""
        self.position = max(self.position, start)
        self._pass_over()

    @classmethod
    def peek(cls, path: Path) -> tuple[Position, Stretch | None]:
        """The position that a cursor's file tells, and what is ahead of it, without opening it for writing."""
        cursor = cls.__new__(cls)
        cursor._generation, cursor.position, cursor.ahead = 0, NOWHERE, None
        cursor._descriptor = os.open(path, os.O_RDONLY)
        try:
            cursor._load()
        finally:
            os.close(cursor._descriptor)
        return cursor.position, cursor.ahead

    @property
    def items(self) -> int:
        """Of all records that are stored."""
        return self.position.items + (self.ahead.items if self.ahead else 0)

    @property
    def records(self) -> int:
        """How many sequence numbers are dealt with."""
        return self.position.sequence + (self.ahead.records if self.ahead else 0)

    def begin(self, end: Position, ahead: Stretch | None = None) -> int:
        """Records that everything up to `end` is being stored, from the position on or from the end of what is stored
        `ahead`; returns how often that has been begun.

        Raises:
            OSError: it could not be written down.
        """
        self.attempts = self.attempts + 1 if end == self.intent else 1
        self.intent, self.ahead = end, ahead
        self._write()
        return self.attempts

    def survived(self) -> None:
        """Records that storing the batch failed without bringing the process down.

        Raises:
            OSError: it could not be written down.
        """
        self.attempts = 0
        self._write()

    def advance(self, position: Position, ahead: Stretch | None = None) -> None:
        """Records that everything before `position` is stored, and what lies `ahead`.

        Raises:
            OSError: it could not be written down; in this process it holds all the same.
        """
        leaves_segment = position.segment != self.position.segment
        self.position, self.ahead = position, ahead
        self.intent, self.attempts = None, 0
        self._write()
        if leaves_segment:
            os.fdatasync(self._descriptor)  # before the segments that it passed are unlinked
            self._released()

    def seal(self) -> None:
        """Has both slots say where it stands: what lies before is let go, so there is no falling back."""
        self._write()

    def close(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def _write(self) -> None:
        self._generation += 1
        ahead = self.ahead or Stretch(NOWHERE, NOWHERE)
        packed = _SLOT.pack(
            self._generation,
            *_numbers(self.position),
            *_numbers(self.intent or NOWHERE),
            self.attempts,
            *_numbers(ahead.begin),
            *_numbers(ahead.end),
        )
        slot = packed + _CRC.pack(zlib.crc32(packed))
        os.pwrite(self._descriptor, slot, self._generation % 2 * SLOT_SIZE)

    def _load(self) -> None:
        """Takes over what the newer of the whole slots says."""
        for slot in (0, 1):
            raw = os.pread(self._descriptor, _SLOT.size + _CRC.size, slot * SLOT_SIZE)
            if len(raw) < _SLOT.size + _CRC.size:
                continue
            if zlib.crc32(raw[: _SLOT.size]) != _CRC.unpack_from(raw, _SLOT.size)[0]:
                continue
            generation, *numbers = _SLOT.unpack_from(raw)
            if generation > self._generation:
                self._generation = generation
                self.position, intent = Position(*numbers[:4]), Position(*numbers[4:8])
                self.attempts = numbers[8]
                begin, end = Position(*numbers[9:13]), Position(*numbers[13:])
                self.ahead = Stretch(begin, end) if begin > NOWHERE else None
                is_done = intent <= self.position or begin < intent <= end
                self.intent = None if is_done else intent
        self._pass_over()

    def _pass_over(self) -> None:
        """Goes on after what is stored ahead, once all before it is."""
        if self.ahead is not None and self.position >= self.ahead.begin:
            self.position, self.ahead = max(self.position, self.ahead.end), None


def _numbers(position: Position) -> tuple[int, int, int, int]:
    return position.segment, position.offset, position.sequence, position.items
