"""The journal: what was acknowledged, on disk, until every sink has it. See README.md for the format."""

from collector.journal.atrest import Files
from collector.journal.cursor import SINK_CURSOR, Cursor
from collector.journal.followed import Followed, Opening, Progress, Reached, Teller
from collector.journal.journal import Journal, JournalError, JournalFullError, JournalLockedError, lock
from collector.journal.readable import Readable
from collector.journal.reader import Reader
from collector.journal.record import NOWHERE, Header, Position, Record, Stretch

__all__ = [
    "NOWHERE",
    "SINK_CURSOR",
    "Cursor",
    "Files",
    "Followed",
    "Header",
    "Journal",
    "JournalError",
    "JournalFullError",
    "JournalLockedError",
    "Opening",
    "Position",
    "Progress",
    "Reached",
    "Readable",
    "Reader",
    "Record",
    "Stretch",
    "Teller",
    "lock",
]
