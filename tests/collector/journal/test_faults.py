"""The journal against a plain list, with crashes, damage, a full disk and failing syncs at any point."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import collector.journal.room
from collector.journal import Cursor, Header, Journal, JournalError, Reader
from collector.journal.cursor import SLOT_SIZE
from tests.waiting import PATIENCE_S

BODIES = st.lists(st.binary(max_size=300), min_size=1, max_size=5)


class JournalBesideList(RuleBasedStateMachine):
    """`model` holds what was acknowledged and not yet stored, in order."""

    journal: Journal
    cursor: Cursor
    reader: Reader

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="journal-"))
        self.life = 0
        self.model: list[bytes] = []
        self.read = 0
        self.settled_items = 0
        self.damaged: set[tuple[str, int]] = set()

    @initialize()
    def first_start(self) -> None:
        (self.base / "0").mkdir()
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.directory, segment_bytes=700)
        self.journal.open()
        self.cursor = self.journal.cursor("sink")
        self.reader = self.journal.reader(self.cursor.position)
        self.read = 0

    @property
    def directory(self) -> Path:
        return self.base / str(self.life)

    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.seg"))

    def append(self, bodies: list[bytes]) -> list[Exception | None]:
        """How each append ended; all of them have when it returns."""
        ended: list[Exception | None] = []
        every = threading.Event()

        def done(error: Exception | None) -> None:
            ended.append(error)
            if len(ended) == len(bodies):
                every.set()

        for body in bodies:
            try:
                self.journal.append(Header(1, items=len(body) % 4), body, done)
            except JournalError as error:
                done(error)
        assert every.wait(PATIENCE_S)
        return ended

    # ------------------------------------------------------------------- what is normal

    @rule(bodies=BODIES)
    def takes(self, bodies: list[bytes]) -> None:
        assert self.append(bodies) == [None] * len(bodies)
        self.model += bodies

    @rule(count=st.integers(1, 6))
    def gives(self, count: int) -> None:
        for _ in range(count):
            record = self.reader.next()
            expected = self.model[self.read] if self.read < len(self.model) else None
            assert (record.body if record else None) == expected
            self.read += record is not None

    @rule()
    def stores(self) -> None:
        self.cursor.begin(self.reader.position)
        self.cursor.advance(self.reader.position)
        self.settled_items = self.reader.position.items
        del self.model[: self.read]
        self.read = 0

    @rule()
    def restarts(self) -> None:
        self.journal.close()
        self.start()

    # ------------------------------------------------------------------- what is not

    @rule(torn=st.binary(max_size=60), while_storing=st.booleans())
    def crashes(self, torn: bytes, while_storing: bool) -> None:
        """The files stay as they are at this moment; of a write that was not acknowledged a part may be there."""
        if while_storing:
            self.cursor.begin(self.reader.position)
        shutil.copytree(self.directory, self.base / str(self.life + 1))
        intent, attempts = self.cursor.intent, self.cursor.attempts
        self.journal.close()
        self.life += 1
        if self.segments():
            with self.segments()[-1].open("ab") as file:
                file.write(b"\x90\x4e" + torn)  # a length that nothing follows
        self.start()
        if intent is not None and intent > self.cursor.position:
            assert (self.cursor.intent, self.cursor.attempts) == (intent, attempts)

    @precondition(lambda self: self.model)
    @rule(flips=st.integers(1, 3), seed=st.integers(0, 2**32))
    def bits_flip(self, flips: int, seed: int) -> None:
        self.journal.close()
        chance = random.Random(seed)
        for _ in range(flips):
            file = chance.choice(self.segments())
            content = bytearray(file.read_bytes())
            if not content:  # begun, and then nothing could be written to it
                continue
            place = chance.randrange(len(content))
            if (file.name, place) not in self.damaged:  # a second flip could mend what the first one broke
                self.damaged.add((file.name, place))
                content[place] ^= 1 << chance.randrange(8)
                file.write_bytes(content)
        self.start()
        lasting = self.journal.reader(self.cursor.position)
        found = []
        while (record := lasting.next()) is not None:
            found.append(record.body)
        lasting.close()
        left = iter(self.model)
        assert all(body in left for body in found), "in order, and nothing made up"
        assert len(found) >= len(self.model) - flips
        if len(found) < len(self.model):
            assert any((self.directory / "quarantine").iterdir())
        self.model = found

    @rule(seed=st.integers(0, 2**32))
    def the_newest_cursor_slot_tears(self, seed: int) -> None:
        """What was stored since the slot before is given once more, never less."""
        self.stores()
        self.cursor.begin(self.reader.position)
        self.journal.close()
        with (self.directory / "sink.cursor").open("r+b") as file:
            file.seek(self.cursor._generation % 2 * SLOT_SIZE)
            file.write(random.Random(seed).randbytes(30))
        self.start()
        assert self.cursor.position.items == self.settled_items

    @rule(bodies=BODIES, taken=st.integers(0, 40))
    def the_disk_is_full(self, bodies: list[bytes], taken: int) -> None:
        def full(descriptor: int, pieces: list[bytes]) -> int:
            write(descriptor, b"".join(pieces)[:taken])
            raise OSError(errno.ENOSPC, "No space left on device")

        write = os.write
        with failing("os.writev", full), failing("os.posix_fallocate", full):
            assert all(isinstance(error, JournalError) for error in self.append(bodies))
        assert not (self.directory / "reserve").exists()
        with patch.object(collector.journal.room, "LOOK_AGAIN_S", 0):
            assert self.append([b"there is space again"]) == [None]
        self.model.append(b"there is space again")
        assert (self.directory / "reserve").exists()

    @rule(bodies=BODIES)
    def a_sync_fails(self, bodies: list[bytes]) -> None:
        def broken(descriptor: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with failing("os.fdatasync", broken):
            assert all(isinstance(error, JournalError) for error in self.append(bodies))

    @rule(bodies=BODIES)
    def a_write_is_short(self, bodies: list[bytes]) -> None:
        """The system may take a part of what it is given, without an error."""
        real = os.write

        def short(descriptor: int, pieces: list[bytes]) -> int:
            return real(descriptor, b"".join(pieces)[:7])

        with failing("os.writev", short):
            assert self.append(bodies) == [None] * len(bodies)
        self.model += bodies

    # ------------------------------------------------------------------- what always holds

    @invariant()
    def items_add_up(self) -> None:
        if self.life or self.segments():
            waiting = self.journal.acknowledged_items - self.cursor.position.items
            assert waiting >= sum(len(body) % 4 for body in self.model)

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            while self.read < len(self.model):
                self.gives(1)
            assert self.reader.next() is None
            self.journal.close()
        shutil.rmtree(self.base)


@contextmanager
def failing(name: str, fault: Callable[..., object]) -> Iterator[None]:
    with patch(name, fault):
        yield


JournalBesideList.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_it_is_a_list_whatever_happens = JournalBesideList.TestCase
