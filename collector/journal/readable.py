"""What can be read of a journal, whichever process writes it."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from collector.journal.cursor import Cursor
from collector.journal.quarantine import QUARANTINE, Quarantine
from collector.journal.reader import Reader
from collector.journal.record import NOWHERE, Position


class Readable(ABC):
    """Segments of one signal in a directory, as far as they may be read, and how far each reader has come.

    `accounting` is held while records are acknowledged. Who holds it sees what was acknowledged and what has
    become of it at one moment.

    Args:
        mask: what may be kept of bytes that can not be read.
    """

    def __init__(self, directory: Path, mask: Callable[[bytes], bytes] = lambda damaged: damaged) -> None:
        self.directory = directory
        self.signal = directory.name
        self.id = ""
        """Tells this journal from every other one; made with its directory."""
        self.accounting = threading.Lock()
        self.acknowledged_items = 0
        """Items of all records ever acknowledged, those of earlier processes included."""
        self.inherited_items = 0
        """Those of earlier processes."""
        self.lost_items = 0
        """Items that were acknowledged with `ack: memory` and could not be written."""
        self.dropped_segments = 0
        """Segments given up to make room (`on_full: drop_oldest`)."""
        self.quarantine = Quarantine(directory / QUARANTINE, mask)
        self.wanted_gone = 0
        """Records before this sequence hold something that was deleted."""
        self.sync_seconds: Callable[[float], None] = lambda _: None
        """Told how long each sync took."""
        self._cursors: Sequence[Cursor] = ()
        """Replaced as a whole: who goes through them may be in another thread."""
        self._segments: list[int] = []
        """First sequences of the segments, oldest first; the last is written to."""
        self._ends: dict[int, int] = {}
        """Bytes of each segment that may be read."""
        self.next_sequence = 1
        self.next_items = 0
        """Items of all records written."""
        self._queued_bytes = 0
        self._readable_changed = threading.Condition()

    # What only the process that writes it can do, or knows.

    @abstractmethod
    def cursor(self, name: str, *, counts: bool = True) -> Cursor:
        """The cursor of that name; at the oldest record if there is none yet. One that does not count keeps segments,
        too, but has to go on when they are too many."""

    def accepted(self) -> tuple[int, int]:
        """Items that doors of other processes accepted into it, and how many of these were taken before."""
        return 0, 0

    @abstractmethod
    def room(self) -> str:
        """Why nothing is taken now; "" if a record would be."""

    @abstractmethod
    def rotate(self) -> None:
        """Begins a new segment, so that what was written can be let go of once it is stored."""

    @abstractmethod
    def settled(self, first: int, beyond: int) -> None:
        """Called by the sink's side, with `accounting` held: every record from the sequence `first` on, and before
        `beyond`, is stored."""

    @abstractmethod
    def keep_segments_below(self, size_bytes: int) -> None:
        """Segments that are begun from now on are no larger than that."""

    @abstractmethod
    def _passed(self) -> None:
        """A cursor has left a segment, or is no more: what nobody waits for can leave."""

    # ------------------------------------------------------------------- cursors

    def cursor_from_now(self, name: str) -> Cursor:
        """A cursor that does not count, after the last record, for who is named while records come."""
        path = self.directory / f"{name}.cursor"
        path.unlink(missing_ok=True)  # of who had the name before
        cursor = Cursor(path, self.end, self._passed, counts=False)
        self._cursors = [*self._cursors, cursor]
        return cursor

    def dismiss(self, cursor: Cursor) -> None:
        """Nothing is kept for that cursor any more, and nobody may use it."""
        self._cursors = [other for other in self._cursors if other is not cursor]
        cursor.close()
        (self.directory / f"{cursor.name}.cursor").unlink(missing_ok=True)
        self._passed()

    # ------------------------------------------------------------------- reading

    def reader(self, position: Position) -> Reader:
        """A reader that begins at `position`. What it can not read goes to the quarantine."""
        return Reader(self, position, self.quarantine.keep)

    def segment_path(self, segment: int) -> Path:
        return self.directory / segment_name(segment)

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

    def ends(self) -> dict[int, int]:
        """Bytes of each segment that may be read."""
        with self._readable_changed:
            return dict(self._ends)

    @property
    def corrupt_ranges(self) -> int:
        """Ranges that could not be read, since the start."""
        return self.quarantine.ranges

    @property
    def queued_bytes(self) -> int:
        """Of bodies that wait for the disk."""
        return self._queued_bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        with self._readable_changed:
            return sum(self._ends.values())

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for the slowest cursor that counts, or for the disk."""
        return self.bytes_after(self.counted) + self._queued_bytes

    @property
    def cursors(self) -> Sequence[Cursor]:
        """Those that were asked for."""
        return self._cursors

    @property
    def is_waited_for(self) -> bool:
        """A cursor has not come to its end."""
        return any(self.bytes_after(cursor.position) for cursor in self._cursors)

    @property
    def counted(self) -> Position:
        """Where the slowest cursor that counts is."""
        return min((cursor.position for cursor in self._cursors if cursor.counts), default=NOWHERE)

    @property
    def end(self) -> Position:
        """After the last record that is written."""
        with self._readable_changed:
            segment = self._segments[-1] if self._segments else self.next_sequence
            return Position(segment, self._ends.get(segment, 0), self.next_sequence, self.next_items)

    def bytes_after(self, position: Position) -> int:
        """Bytes of all records that are written from there on."""
        with self._readable_changed:
            after = sum(end for segment, end in self._ends.items() if segment >= position.segment)
            return after - (position.offset if position.segment in self._ends else 0)

    def newest_within(self, max_bytes: int) -> Position:
        """The beginning of the oldest segment from which on there are no more bytes than that; else of the newest."""
        with self._readable_changed:
            begin, size = self._segments[-1] if self._segments else self.next_sequence, 0
            for segment in reversed(self._segments):
                size += self._ends[segment]
                if size > max_bytes:
                    break
                begin = segment
        return Position(begin, 0, begin)

    def holds_before(self, sequence: int) -> bool:
        """Whether there are segments that began before this sequence."""
        with self._readable_changed:
            return any(segment < sequence for segment in self._segments)


def segment_name(segment: int) -> str:
    return f"{segment:020d}.seg"


def segments_in(directory: Path) -> list[int]:
    """First sequences of the segments in a directory, oldest first."""
    names = (re.fullmatch(r"(\d+)\.seg", path.name) for path in directory.iterdir())
    return sorted(int(name[1]) for name in names if name)
