"""Whose turn it is: while much waits, what came since is stored beside it and not after all of it.

A backlog is what a start finds in the journal, what an outage of the store has left, or more than can be stored.
Until it is through, the journal is read at two places: from the cursor on up to where it ended when that was noticed,
and from there on. A run that is sent now can be seen within seconds, and the backlog takes as long as it would anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

from collector.journal import NOWHERE, Cursor, Position, Readable, Reader, Stretch

NEW_SHARE = 0.3
"""Of the work, for what is new, as long as there is a backlog."""
BACKLOG_BATCHES = 4
"""So many full batches must wait: to store less takes no longer than a few seconds."""


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
        self._credit = 0.0
        """Full batches that new records may be ahead of their share."""
        self._was_old = True
        last = self.old if cursor.ahead is None else self._part(cursor.ahead)
        if cursor.intent is not None:
            begun = last if cursor.intent > last.reader.position else self.old
            begun.unfinished = cursor.intent

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
        if self.new is None and self.is_plain():
            items, size = self.waiting()
            if items >= BACKLOG_BATCHES * max_items or size >= BACKLOG_BATCHES * max_bytes:
                end = self._journal.end
                self._part(Stretch(end, end))
        if self.new is None or (self.old.unfinished is not None and self.new.unfinished is None):
            return self.old
        is_due = self._was_old and self._credit > 0 and self._journal.bytes_after(self.new.reader.position)
        return self.new if is_due or self.new.unfinished is not None else self.old

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
