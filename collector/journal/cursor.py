"""How far a sink has come, in two slots of one file that are written in turn: a torn write spoils only one."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from collector.journal.record import Position

SINK_CURSOR = "sink"
"""The cursor of a pipeline in its journal."""
SLOT_SIZE = 4096
_SLOT = struct.Struct("<10Q")
"""Generation, position (segment, offset, sequence, items), the same of the intent (zeros: none), attempts."""
_CRC = struct.Struct("<I")


class Cursor:
    """The position after the last record that a sink has stored, and the batch that is being stored.

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
        self.intent: Position | None = None
        """Where the batch ends that was being stored; None if there was none."""
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

    @classmethod
    def peek(cls, path: Path) -> Position:
        """The position that a cursor's file tells, without opening it for writing."""
        cursor = cls.__new__(cls)
        cursor._generation, cursor.position = 0, Position(0, 0, 0)
        cursor._descriptor = os.open(path, os.O_RDONLY)
        try:
            cursor._load()
        finally:
            os.close(cursor._descriptor)
        return cursor.position

    def begin(self, end: Position) -> int:
        """Records that everything up to `end` is being stored; returns how often that has been begun.

        Raises:
            OSError: it could not be written down.
        """
        self.attempts = self.attempts + 1 if end == self.intent else 1
        self.intent = end
        self._write()
        return self.attempts

    def survived(self) -> None:
        """Records that storing the batch failed without bringing the process down.

        Raises:
            OSError: it could not be written down.
        """
        self.attempts = 0
        self._write()

    def advance(self, position: Position) -> None:
        """Records that everything before `position` is stored.

        Raises:
            OSError: it could not be written down; in this process it holds all the same.
        """
        leaves_segment = position.segment != self.position.segment
        self.position = position
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
        here, intent = self.position, self.intent or Position(0, 0, 0)
        packed = _SLOT.pack(
            self._generation,
            *(here.segment, here.offset, here.sequence, here.items),
            *(intent.segment, intent.offset, intent.sequence, intent.items),
            self.attempts,
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
            generation, *numbers, attempts = _SLOT.unpack_from(raw)
            if generation > self._generation:
                self._generation = generation
                self.position = Position(*numbers[:4])
                intent = Position(*numbers[4:])
                self.intent = intent if intent > self.position else None
                self.attempts = attempts
