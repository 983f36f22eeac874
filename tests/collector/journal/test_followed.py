"""A journal that one process writes and another reads: here both in one, on the same files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.journal import SINK_CURSOR, Followed, Header, Journal, Reached, Reader, Teller
from tests.collector.journal.test_journal import append

ITEMS = 3


@dataclass
class Writer:
    """The process that writes."""

    journal: Journal
    teller: Teller
    accepted: int = 0

    def take(self, *bodies: bytes) -> None:
        append(self.journal, *bodies, header=Header(1, items=ITEMS))
        self.accepted += ITEMS * len(bodies)

    def hear(self, reached: Reached) -> None:
        self.journal.reached(reached.places, passed=reached.passed)
        if reached.largest_segment:
            self.journal.keep_segments_below(reached.largest_segment)
        if reached.rotate:
            self.journal.rotate()


class Pair:
    """A writer and its follower; `tell` brings what the writer has to tell."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.writer = self._open()
        self.followed = Followed(directory, lambda reached: self.writer.hear(reached))
        self._meet()

    def _open(self) -> Writer:
        journal = Journal(self._directory, segment_bytes=100, followed=True)
        journal.open()
        journal.cursor(SINK_CURSOR)
        writer = Writer(journal, Teller(journal, lambda: (writer.accepted, 0)))
        return writer

    def _meet(self) -> None:
        self.followed.opened(self.writer.teller.opening())

    def tell(self) -> None:
        self.followed.take(self.writer.teller.progress())

    def replace_writer(self) -> None:
        """It dies, and another takes its place."""
        self.writer.journal.close()
        self.followed.away()
        self.writer = self._open()
        self._meet()

    def close(self) -> None:
        self.followed.close()
        self.writer.journal.close()

    @property
    def balance(self) -> int:
        """Items that were accepted, and of which nothing is known; it must be none."""
        followed, stored = self.followed, self.followed.cursor(SINK_CURSOR).position.items
        return followed.accepted()[0] - (followed.acknowledged_items - stored) - stored - followed.lost_items


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "traces")


def read(followed: Followed) -> list[bytes]:
    """Reads and stores what there is."""
    cursor = followed.cursor(SINK_CURSOR)
    reader = followed.reader(cursor.position)
    bodies = []
    while (record := reader.next()) is not None:
        bodies.append(record.body)
    cursor.advance(reader.position)
    reader.close()
    return bodies


def test_what_was_told_is_read_and_nothing_else(pair: Pair) -> None:
    pair.writer.take(b"a", b"b")
    assert read(pair.followed) == []
    assert not pair.followed.acknowledged_items
    pair.tell()
    pair.writer.take(b"c")
    assert pair.followed.acknowledged_items == 2 * ITEMS
    assert read(pair.followed) == [b"a", b"b"]
    pair.tell()
    assert read(pair.followed) == [b"c"]
    assert pair.balance == 0
    pair.close()


def test_segments_leave_once_they_are_stored(pair: Pair) -> None:
    bodies = [bytes([letter]) * 60 for letter in b"abcdef"]
    for body in bodies:
        pair.writer.take(body)
    pair.tell()
    assert len(list(pair.followed.directory.glob("*.seg"))) == len(bodies)
    assert pair.followed.size_bytes == pair.writer.journal.size_bytes
    assert read(pair.followed) == bodies
    pair.tell()
    assert len(list(pair.followed.directory.glob("*.seg"))) == 1
    assert pair.followed.size_bytes == pair.writer.journal.size_bytes
    assert pair.writer.journal.waiting_bytes == pair.followed.waiting_bytes == 0
    written = pair.followed.next_sequence
    while pair.followed.holds_before(written):  # as a deletion waits for it
        pair.followed.rotate()
        pair.tell()
    assert not list(pair.followed.directory.glob("*.seg"))
    pair.writer.take(b"g")
    pair.tell()
    assert read(pair.followed) == [b"g"]
    pair.close()


def test_what_a_writer_had_not_told_when_it_died_is_read_and_counted(pair: Pair) -> None:
    pair.writer.take(b"a")
    pair.tell()
    pair.followed.settled(1, 2)
    pair.writer.take(b"b", b"c")
    pair.replace_writer()
    assert pair.followed.room()  # until the new one has told
    pair.tell()
    assert not pair.followed.room()
    assert pair.followed.acknowledged_items == pair.followed.accepted()[0] == 3 * ITEMS
    assert read(pair.followed) == [b"a", b"b", b"c"]
    pair.writer.take(b"d")
    pair.tell()
    assert pair.balance == 0
    assert read(pair.followed) == [b"d"]
    assert pair.balance == 0
    pair.close()


def test_a_reader_goes_on_where_its_cursor_is_whoever_closed_last(pair: Pair, tmp_path: Path) -> None:
    pair.writer.take(b"a", b"b")
    pair.tell()
    read(pair.followed)
    pair.writer.journal.close()  # with all stored, as it was told or not
    pair.followed.close()
    again = Pair(tmp_path / "traces")
    again.writer.take(b"c")
    again.tell()
    assert again.followed.inherited_items == 2 * ITEMS
    assert read(again.followed) == [b"c"]
    again.close()


class ToldMeanwhile:
    """Segments of which more is told right after their end was asked for."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.segment_path = pair.followed.segment_path
        self.segment_after = pair.followed.segment_after
        self.wait_beyond = pair.followed.wait_beyond

    def readable_end(self, segment: int) -> int | None:
        end = self._pair.followed.readable_end(segment)
        self._pair.tell()
        return end


def test_a_segment_that_grew_before_the_next_was_begun_is_read_to_its_end(pair: Pair) -> None:
    pair.writer.take(b"a")
    pair.tell()
    reader = Reader(ToldMeanwhile(pair), pair.followed.cursor(SINK_CURSOR).position)
    assert reader.next() is not None
    pair.writer.take(b"b")  # in the same segment
    pair.writer.take(b"c" * 100)
    assert len(pair.writer.journal.ends()) == 2
    bodies = [record.body for _ in range(2) if (record := reader.next()) is not None]
    assert bodies == [b"b", b"c" * 100]
    assert reader.lost_items == 0
    reader.close()
    pair.close()


def test_who_comes_later_keeps_segments_until_it_has_read_them_or_is_dismissed(pair: Pair) -> None:
    pair.writer.take(b"a" * 100)
    pair.tell()
    late = pair.followed.cursor_from_now("late")
    bodies = [bytes([letter]) * 100 for letter in b"bcd"]
    for body in bodies:
        pair.writer.take(body)
    pair.tell()
    assert read(pair.followed) == [b"a" * 100, *bodies]
    pair.tell()
    reader = pair.followed.reader(late.position)
    assert (record := reader.next()) is not None
    assert record.body == bodies[0]
    reader.close()
    assert len(pair.followed.ends()) == 4  # "a" as well: the place is at its end
    pair.followed.dismiss(late)
    pair.tell()
    assert len(pair.followed.ends()) == 1
    assert not (pair.followed.directory / "late.cursor").exists()
    pair.followed.keep_segments_below(40)
    pair.writer.take(b"e")
    pair.writer.take(b"f")
    pair.tell()
    assert len(pair.followed.ends()) == 3
    pair.close()
