"""A journal's files as they are, read without its lock: for looking into them beside a running collector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from collector.journal.cursor import Cursor
from collector.journal.readable import segment_name, segments_in
from collector.journal.reader import Damage, Reader
from collector.journal.record import Position, Record, Stretch


class Files:
    """The segments of a directory, as a reader wants them. Nothing is changed, and nothing is waited for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.segments = segments_in(directory)

    def segment_path(self, segment: int) -> Path:
        return self.directory / segment_name(segment)

    def readable_end(self, segment: int) -> int | None:
        try:
            return self.segment_path(segment).stat().st_size if segment in self.segments else None
        except FileNotFoundError:  # stored meanwhile
            return None

    def segment_after(self, segment: int) -> int | None:
        return next((later for later in self.segments if later > segment), None)

    def wait_beyond(self, segment: int, offset: int, timeout: float) -> None:
        return

    def records(self, damage: Damage) -> Iterator[Record]:
        """Every whole record, oldest first."""
        if not self.segments:
            return
        reader = Reader(self, Position(self.segments[0], 0, self.segments[0]), damage)
        while (record := reader.next()) is not None:
            yield record
        reader.close()

    def cursors(self) -> dict[str, Position]:
        """How far each sink has come."""
        oldest = self.segments[0] if self.segments else 1
        start = Position(oldest, 0, oldest)
        return {name: max(position, start) for name, (position, _) in self._told().items()}

    def ahead(self) -> dict[str, Stretch]:
        """What each sink that has something beyond its cursor has there."""
        return {name: ahead for name, (_, ahead) in self._told().items() if ahead is not None}

    def _told(self) -> dict[str, tuple[Position, Stretch | None]]:
        return {file.stem: Cursor.peek(file) for file in sorted(self.directory.glob("*.cursor"))}


class Single(Files):
    """One file with records, whatever its name."""

    def __init__(self, file: Path) -> None:
        self.directory = file.parent
        self.segments = [1]
        self._file = file

    def segment_path(self, segment: int) -> Path:
        return self._file
