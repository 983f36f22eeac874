"""Whose turn it is: while much waits, what came since is stored beside it and not after all of it.

A backlog is what a start finds in the journal, or what an outage of the store has left. Until it is through, the
journal is read at two places: from the cursor on up to where it ended when that was noticed, and from there on. A run
that is sent now can be seen within seconds.

Who sends more than can be stored is served in order: nothing is gained if each takes as long as the other, and
sessions whose runs come to the store in another order than they were sent are looked at again each time, which takes
half as much processor time again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from collector.journal import NOWHERE, Cursor, Position, Readable, Reader, Stretch

NEW_SHARE = 0.3
"""Of the work, for what is new, as long as there is a backlog."""
BACKLOG_BATCHES = 4
"""So many full batches must wait: to store less takes no longer than a few seconds."""
NEW_EVERY_S = 2.0
"""So long what is new is gathered if it is less than a full batch: a small one takes the store nearly as long."""


@dataclass(slots=True)
class Course:
    """Records that are read in their order."""

    reader: Reader
    unfinished: Position | None = None
    """Where the batch ends that was being stored when the last process ended, and was one of these."""
    singly_until: Position = NOWHERE
    """Up to here every record is a batch of its own."""
    lost_before: int = 0
    """Items that its reader missed and that are counted."""

    def lost(self) -> int:
        """Items that its reader missed since this was asked last."""
        lost, self.lost_before = self.reader.lost_items - self.lost_before, self.reader.lost_items
        return lost


class Turns:
    """Decides where in the journal the next batch is read. Used from one thread.

    `position` and `ahead` are what the cursor is to say when all batches are stored that were handed over.
    """

    def __init__(self, journal: Readable, cursor: Cursor) -> None:
        self._journal = journal
        self.position, self.ahead = cursor.position, cursor.ahead
        self.old = Course(journal.reader(cursor.position))
        """All there is; while there is a backlog, that."""
        self.new: Course | None = None
        """What came since, while there is a backlog."""
        self.is_behind = journal.inherited_items > cursor.items
        """What waits was left by an earlier process or an outage of the store."""
        self._credit = 0.0
        """Full batches that new records may be ahead of their share."""
        self._was_old = True
        self._new_s = 0.0
        """When what is new had its turn, by the monotonic clock."""
        last = self.old if cursor.ahead is None else self._part(cursor.ahead)
        if cursor.intent is not None:
            begun = last if cursor.intent > last.reader.position else self.old
            begun.unfinished = cursor.intent

    def fell_behind(self) -> None:
        """There was an outage. May be called from any thread."""
        self.is_behind = True

    def waiting(self) -> tuple[int, int]:
        """Items and bytes that the old course has still to read."""
        journal, here = self._journal, self.old.reader.position
        if self.ahead is None:
            return journal.end.items - here.items, journal.bytes_after(here)
        until = self.ahead.begin
        return until.items - here.items, journal.bytes_after(here) - journal.bytes_after(until)

    def is_plain(self) -> bool:
        """Nothing is special about the batches that the old course gives."""
        return self.old.unfinished is None and self.old.reader.position >= self.old.singly_until

    def next(self, *, max_items: int, max_bytes: int) -> Course:
        """Where the next batch is read, if a full one has so many items or bytes."""
        if self.new is None and self.is_behind and self.is_plain():
            items, size = self.waiting()
            self.is_behind = False
            if items >= BACKLOG_BATCHES * max_items or size >= BACKLOG_BATCHES * max_bytes:
                end = self._journal.end
                self._part(Stretch(end, end))
        if self.new is None or (self.old.unfinished is not None and self.new.unfinished is None):
            return self.old
        return self.new if self.new.unfinished is not None or self._is_due(self.new, max_bytes) else self.old

    def _is_due(self, new: Course, max_bytes: int) -> bool:
        if not self._was_old or self._credit <= 0:
            return False
        size = self._journal.bytes_after(new.reader.position)
        return size >= max_bytes or (size > 0 and time.monotonic() >= self._new_s + NEW_EVERY_S)

    def must_go_on(self, course: Course) -> bool:
        """Nothing is to be waited for there, where there is nothing to read now: the other course has something, or
        will go on alone."""
        if self.new is None:
            return False
        # Who follows a journal may not have been told of its segments yet.
        here = course.reader.position.segment
        is_told = self._journal.segment_after(here - 1) is not None
        return course.reader.is_done or (course is self.new and is_told)

    def handed_over(self, course: Course, end: Position, fullness: float) -> None:
        """A batch that ends there comes next of all.

        Args:
            fullness: of a full batch.
        """
        self._was_old = course is self.old
        if self._was_old:
            self.position = end
            self._credit = min(1.0, self._credit + fullness * NEW_SHARE / (1 - NEW_SHARE))
        elif self.ahead is not None:
            self.ahead = Stretch(self.ahead.begin, end)
            self._credit -= fullness
            self._new_s = time.monotonic()

    def join(self) -> int:
        """The backlog is read: goes on in one course. Returns how many items were missed at its end."""
        if self.new is None or self.ahead is None:
            return 0
        begin = self.ahead.begin
        lost = self.old.lost() + begin.items - self.old.reader.position.items
        self.old.reader.close()
        self.old, self.new = self.new, None
        self.position, self.ahead = self.ahead.end, None
        return lost

    def _part(self, ahead: Stretch) -> Course:
        """Reads what lies behind what is stored ahead in a course of its own; returns that."""
        self.ahead = ahead
        self.old.reader.until = ahead.begin
        self.new = Course(self._journal.reader(ahead.end))
        self._credit = NEW_SHARE
        return self.new
