"""How far a sink has come, in two slots of one file that are written in turn: a torn write spoils only one."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from collector.journal.record import Position

SLOT_SIZE = 4096
_SLOT = struct.Struct("<QQQQ")  # generation, segment, offset, sequence
_CRC = struct.Struct("<I")


class Cursor:
    """The position after the last record that a sink has stored.

    `released` is told each new position, so that the journal can let go of what lies before.
    """

    def __init__(self, path: Path, start: Position, released: Callable[[], None]) -> None:
        self._released = released
        self._generation = 0
        self.position = start
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        for slot in (0, 1):
            stored = self._read(slot)
            if stored is not None and stored[0] > self._generation:
                self._generation, self.position = stored
        self.position = max(self.position, start)

    def advance(self, position: Position) -> None:
        """Records that everything before `position` is stored."""
        self._generation += 1
        packed = _SLOT.pack(self._generation, position.segment, position.offset, position.sequence)
        slot = packed + _CRC.pack(zlib.crc32(packed))
        os.pwrite(self._descriptor, slot, self._generation % 2 * SLOT_SIZE)
        leaves_segment = position.segment != self.position.segment
        self.position = position
        if leaves_segment:
            os.fdatasync(self._descriptor)  # before the segments that it passed are unlinked
            self._released()

    def close(self) -> None:
        os.fdatasync(self._descriptor)
        os.close(self._descriptor)

    def _read(self, slot: int) -> tuple[int, Position] | None:
        raw = os.pread(self._descriptor, _SLOT.size + _CRC.size, slot * SLOT_SIZE)
        if (
            len(raw) < _SLOT.size + _CRC.size
            or zlib.crc32(raw[: _SLOT.size]) != _CRC.unpack_from(raw, _SLOT.size)[0]
        ):
            return None
        generation, *place = _SLOT.unpack_from(raw)
        return generation, Position(*place)
