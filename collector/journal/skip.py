"""Records that somebody wants passed over: they go to the quarantine, and in their segments nobody finds them again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from collector.journal.atrest import Files
from collector.journal.journal import sync_directory
from collector.journal.quarantine import QUARANTINE, SKIPPED
from collector.journal.readable import segment_name
from collector.journal.reader import Reader
from collector.journal.record import Position, Record, encode


@dataclass(frozen=True, slots=True)
class Placed:
    """A record and the bytes of its segment that it takes."""

    record: Record
    segment: int
    begin: int
    end: int


class Waiting:
    """Records of a journal at rest that a reader has still to pass. Its lock is held by who asks.

    Args:
        first, beyond: sequences: what lies between them is meant.
    """

    def __init__(self, directory: Path, first: int, beyond: int) -> None:
        self._files = Files(directory)
        self._cursors, self._ahead = self._files.cursors(), self._files.ahead()
        passed = [position.sequence for position in self._cursors.values()]
        self._first = max(first, min(passed, default=0))
        self._beyond = beyond

    def __iter__(self) -> Iterator[Placed]:
        segments = self._files.segments
        begin = max(
            [segment for segment in segments if segment <= self._first], default=min(segments, default=0)
        )
        for placed in self._from(begin):
            if placed.record.sequence >= self._beyond:
                return
            if placed.record.sequence >= self._first and self._waits(placed.record.sequence):
                yield placed

    def _waits(self, sequence: int) -> bool:
        """Some sink has not passed it; one that never was here begins with what is oldest."""
        ahead = self._ahead
        return not self._cursors or any(
            position.sequence <= sequence and not (name in ahead and ahead[name].holds(sequence))
            for name, position in self._cursors.items()
        )

    def skip(self, masked: Callable[[Record], bytes]) -> Path | None:
        """Moves them to a file in the quarantine, which is returned; None if there are none.

        What is in the file is durable before anything leaves a segment: who is stopped in between does it once more.

        Args:
            masked: gives what may be kept of a record's body.

        Raises: OSError.
        """
        directory = self._files.directory / QUARANTINE
        directory.mkdir(mode=0o700, exist_ok=True)
        kept = directory / "skipping"
        places: dict[int, list[tuple[int, int]]] = {}
        descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for placed in self:
                record = placed.record
                places.setdefault(placed.segment, []).append((placed.begin, placed.end))
                file.writelines(encode(record.sequence, record.header, masked(record), before=record.before))
            file.flush()
            os.fsync(descriptor)
        if not places:
            kept.unlink()
            return None
        segment, ranges = next(iter(places.items()))
        named = directory / f"{Path(segment_name(segment)).stem}-{ranges[0][0]}-skipped.bad"
        kept.rename(named)
        sync_directory(directory)
        if self._files.segments[-1] in places:
            self._begin_segment()
        for segment, ranges in places.items():
            self._blank(segment, ranges)
        return named

    def _from(self, segment: int) -> Iterator[Placed]:
        reader = Reader(self._files, Position(segment, 0, segment))
        while (record := reader.next()) is not None:
            place = reader.position
            size = sum(map(len, encode(record.sequence, record.header, record.body, before=record.before)))
            yield Placed(record, place.segment, place.offset - size, place.offset)
        reader.close()

    def _begin_segment(self) -> None:
        """What is blank at the end of the last segment would be cut off at the next start, and what comes then would
        have the places of what was there: no two ranges may ever look alike."""
        last = self._files.segments[-1]
        following = max(placed.record.sequence + 1 for placed in self._from(last))
        descriptor = os.open(self._files.segment_path(following), os.O_WRONLY | os.O_CREAT, 0o600)
        os.close(descriptor)
        sync_directory(self._files.directory)

    def _blank(self, segment: int, ranges: list[tuple[int, int]]) -> None:
        descriptor = os.open(self._files.segment_path(segment), os.O_WRONLY)
        try:
            for begin, end in ranges:
                left = memoryview(SKIPPED * (end - begin))
                while left:
                    left = left[os.pwrite(descriptor, left, end - len(left)) :]
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
