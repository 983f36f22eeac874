"""A journal that another process writes: that one tells how far it is, this one reads and says what is stored.

Both work on the same files, each on its own: segments are the writer's, cursors the reader's. What is told is only what
changed since the last time, and only what is as safe as an acknowledgement promises.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import NamedTuple

from collector.journal.cursor import Cursor
from collector.journal.journal import Journal
from collector.journal.readable import Readable
from collector.journal.record import Place, Position, Stretch

MOST_SYNCS = 1000
"""Durations of syncs that are kept until they are told."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a writer found when it opened its journal."""

    id: str
    positions: Mapping[str, Position]
    """Where its cursors are, by name."""
    ahead: Mapping[str, Stretch]
    """What is stored ahead of those of which something is."""
    inherited_items: int
    """Items of all records that were safe by then."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What changed since a writer last told, and how its journal is."""

    ends: Mapping[int, int]
    """Segments that are new or longer, and where they end."""
    gone: frozenset[int]
    """Segments that are no more."""
    next_sequence: int
    next_items: int
    acknowledged_items: int
    accepted: tuple[int, int]
    """Items that its doors accepted, and how many of these were taken before."""
    lost_items: int
    dropped_segments: int
    quarantined: int
    """Ranges that it could not read when it opened."""
    queued_bytes: int
    refusal: str
    """Why nothing is taken now."""
    syncs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reached:
    """What the reader tells the writer."""

    places: Mapping[str, Place]
    """Of all its cursors, by name."""
    passed: bool = False
    """A cursor has left a segment, for good, or is no more."""
    rotate: bool = False
    largest_segment: int = 0
    """Bytes beyond which no segment that is begun from now on is to grow; 0: as it is."""


class Teller:
    """Tells of a journal that is written here.

    Args:
        accepted: items that the doors accepted of its signal, and how many of these were taken before; asked while
            `accounting` is held.
    """

    def __init__(self, journal: Journal, accepted: Callable[[], tuple[int, int]]) -> None:
        self._journal = journal
        self._accepted = accepted
        self._told: dict[int, int] = {}
        self._syncs: list[float] = []
        journal.sync_seconds = self._note_sync

    def opening(self) -> Opening:
        """To be asked for before anything is appended."""
        journal = self._journal
        positions = {cursor.name: cursor.position for cursor in journal.cursors}
        ahead = {cursor.name: cursor.ahead for cursor in journal.cursors if cursor.ahead is not None}
        return Opening(journal.id, positions, ahead, journal.inherited_items)

    def progress(self) -> Progress:
        journal = self._journal
        with journal.accounting:
            acknowledged, accepted, lost = journal.acknowledged_items, self._accepted(), journal.lost_items
        # After that: what was acknowledged can be read.
        ends = journal.ends()
        changed = {segment: end for segment, end in ends.items() if self._told.get(segment) != end}
        gone = frozenset(self._told.keys() - ends.keys())
        self._told = ends
        syncs, self._syncs = self._syncs, []
        return Progress(
            changed,
            gone,
            journal.next_sequence,
            journal.next_items,
            acknowledged,
            accepted,
            lost,
            journal.dropped_segments,
            journal.quarantine.ranges,
            journal.queued_bytes,
            journal.room() if journal.is_moving() else "the journal does not move",
            tuple(syncs),
        )

    def _note_sync(self, seconds: float) -> None:
        if len(self._syncs) < MOST_SYNCS:
            self._syncs.append(seconds)


AWAY = "its writer is away"


class _Counts(NamedTuple):
    """What writers have counted since they began."""

    accepted: int = 0
    resent: int = 0
    lost_items: int = 0
    dropped_segments: int = 0
    quarantined: int = 0

    def plus(self, other: _Counts) -> _Counts:
        return _Counts(*map(add, self, other))


class Followed(Readable):
    """The journal on its reader's side.

    Args:
        tell: called with what the writer is to know. Must neither fail nor wait.
    """

    def __init__(
        self,
        directory: Path,
        tell: Callable[[Reached], None],
        mask: Callable[[bytes], bytes] = lambda damaged: damaged,
    ) -> None:
        super().__init__(directory, mask)
        self._tell = tell
        self._positions: dict[str, Position] = {}
        """Where the writer has the cursors that were not asked for yet."""
        self._ahead: dict[str, Stretch] = {}
        """What is stored ahead of them."""
        self._told = _Counts()
        """By the writer that there is."""
        self._ended = _Counts()
        """By those that are no more, and what was safe without their having told so: they ended first."""
        self._refusal = AWAY
        self._is_new = True
        """The writer has not told of its segments yet."""

    def opened(self, opening: Opening) -> None:
        """A writer has the journal: the first, or one that was started when the one before had ended."""
        with self.accounting:
            if not self.id:
                self.id = opening.id
                self._positions, self._ahead = dict(opening.positions), dict(opening.ahead)
                self.inherited_items = opening.inherited_items
            else:
                unknown = opening.inherited_items - self.acknowledged_items
                found, lost = max(0, unknown), max(0, -unknown)  # lost as `ack: memory` allows
                self._ended = self._ended.plus(self._told).plus(_Counts(accepted=found, lost_items=lost))
                self._told = _Counts()
            self.acknowledged_items = opening.inherited_items
            self._refusal = AWAY  # until it has told how it is
            self._is_new = True
            self._sum_up()

    def take(self, progress: Progress) -> None:
        """What the writer told."""
        with self.accounting:
            self.acknowledged_items = progress.acknowledged_items
            self._told = _Counts(
                *progress.accepted, progress.lost_items, progress.dropped_segments, progress.quarantined
            )
            self._refusal = progress.refusal
            self._sum_up()
        with self._readable_changed:
            if self._is_new:  # what left with the one before is not told
                self._is_new = False
                self._segments, self._ends = [], {}
            for segment in progress.gone & self._ends.keys():
                del self._ends[segment]
                self._segments.remove(segment)
            for segment, end in progress.ends.items():
                if segment not in self._ends:
                    insort(self._segments, segment)
                self._ends[segment] = end
            self.next_sequence = progress.next_sequence
            self.next_items = progress.next_items
            self._queued_bytes = progress.queued_bytes
            self._readable_changed.notify_all()
        for seconds in progress.syncs:
            self.sync_seconds(seconds)

    def away(self) -> None:
        """The writer has ended, whatever for."""
        self._refusal = AWAY

    def accepted(self) -> tuple[int, int]:
        """With `accounting` held it agrees with `acknowledged_items`."""
        counted = self._ended.plus(self._told)
        return counted.accepted, counted.resent

    @property
    def corrupt_ranges(self) -> int:
        return super().corrupt_ranges + self._told.quarantined + self._ended.quarantined

    def cursor(self, name: str, *, counts: bool = True) -> Cursor:
        """To be asked for when the journal was opened."""
        if known := next((cursor for cursor in self._cursors if cursor.name == name), None):
            return known
        # What the file says may lie before or after all that is there; the writer has set it right.
        position = self._positions[name]
        cursor = Cursor(self.directory / f"{name}.cursor", position, self._passed, counts=counts)
        cursor.position, cursor.ahead = position, self._ahead.get(name)
        self._cursors = [*self._cursors, cursor]
        return cursor

    def cursor_from_now(self, name: str) -> Cursor:
        cursor = super().cursor_from_now(name)
        self._tell(Reached(self._reached()))
        return cursor

    def keep_segments_below(self, size_bytes: int) -> None:
        self._tell(Reached(self._reached(), largest_segment=size_bytes))

    def room(self) -> str:
        return self._refusal

    def rotate(self) -> None:
        self._tell(Reached(self._reached(), rotate=True))

    def settled(self, first: int, beyond: int) -> None:
        """So that the writer knows how much waits; `ack: sink` is not for a journal that is followed."""
        self._tell(Reached(self._reached()))

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()

    def _passed(self) -> None:
        self._tell(Reached(self._reached(), passed=True))

    def _reached(self) -> dict[str, Place]:
        return {cursor.name: Place(cursor.position, cursor.counts) for cursor in self._cursors}

    def _sum_up(self) -> None:
        counted = self._ended.plus(self._told)
        self.lost_items, self.dropped_segments = counted.lost_items, counted.dropped_segments
