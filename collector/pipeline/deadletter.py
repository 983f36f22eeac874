"""What was acknowledged but can not be stored: kept, but for secrets, with the reason, in a file beside the journal."""

from __future__ import annotations

import base64
import fcntl
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from collector.journal import Header, Record
from collector.otlp.cut import count

DEAD_LETTERS = "dead-letters.jsonl"
"""Name of the file in the data directory."""


Kind = Literal["undecodable", "unstorable", "deadly", "fault"]
"""It can not be decoded; the store will never take it; the collector died of it; a fault of ours, each time."""


class DeadLettersFullError(OSError):
    """There is no room for another one. Somebody must look into them: `eddyline dead-letter`."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A request, or the part of one, that can not be stored."""

    record: Record
    signal: str
    reason: str
    kind: Kind = "unstorable"
    """Of reason, for counting."""
    json: bool = False
    """Whether the body is OTLP/JSON: a request that could not even be read."""


class DeadLetters:
    """A file of JSON lines: `{"reason", "kind", "signal", "sequence", "items", "received_ns", "tenant", "project",
    "transport", "json", "body"}`.

    `body` is the request, protobuf unless `json`, in base64. The file is created when it is needed (0600). It is never
    thinned out by itself: when it is full, what can not be stored waits in the journal.

    Args:
        masked: takes secrets out of a body, given its signal and project.
        max_bytes: of the file; 0: no bound.
    """

    def __init__(self, file: Path, masked: Callable[[str, bytes, str], bytes], max_bytes: int = 0) -> None:
        self._file = file
        self._masked = masked
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self.items: Counter[str] = Counter()
        """Spans and log records kept by this process, by signal."""
        self.kinds: Counter[tuple[str, Kind]] = Counter()
        """Letters kept by this process, by signal and kind."""
        self.is_full = False

    @property
    def size_bytes(self) -> int:
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0

    def keep(self, letters: Sequence[Letter]) -> None:
        """Writes the letters down, all or none; durable when it returns.

        Raises:
            DeadLettersFullError: there is no room for them.
            OSError: the file can not be written.
        """
        lines = b"".join(map(self._line, letters))
        with self._lock, locked(self._file):
            descriptor = os.open(self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    lines = b"\n" + lines  # a crash left a part of a line, which would spoil the next one
                self.is_full = bool(self.max_bytes) and size + len(lines) > self.max_bytes
                if self.is_full:
                    raise DeadLettersFullError(
                        f"{self._file} holds {size} of {self.max_bytes} bytes; see `eddyline dead-letter ls`"
                    )
                try:
                    left = memoryview(lines)
                    while left:
                        left = left[os.write(descriptor, left) :]
                    os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, size)
                    raise
            finally:
                os.close(descriptor)
            for letter in letters:
                self.items[letter.signal] += letter.record.header.items
                self.kinds[letter.signal, letter.kind] += 1

    def _line(self, letter: Letter) -> bytes:
        header = letter.record.header
        body = self._masked(letter.signal, letter.record.body, header.project)
        return orjson.dumps(
            {
                "reason": letter.reason,
                "kind": letter.kind,
                "signal": letter.signal,
                "sequence": letter.record.sequence,
                "items": header.items,
                "received_ns": header.received_ns,
                "tenant": header.tenant,
                "project": header.project,
                "transport": header.transport,
                "json": letter.json,
                "body": base64.b64encode(body).decode(),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Holds other processes off the file: it may be replaced as a whole meanwhile."""
    descriptor = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(file: Path, damaged: Callable[[int], None] = lambda number: None) -> Iterator[tuple[bytes, Letter]]:
    """Every letter with the line that holds it, oldest first. A line that is none is left out; `damaged` is told its
    number, from 1 on."""
    try:
        opened = file.open("rb")
    except FileNotFoundError:
        return
    with opened:
        for number, line in enumerate(opened, 1):
            try:
                found = orjson.loads(line)
                header = Header(
                    int(found["received_ns"]),
                    str(found["tenant"]),
                    str(found["project"]),
                    str(found["transport"]),
                    int(found["items"]),
                )
                body = base64.b64decode(found["body"])
                record = Record(found["sequence"], header, body)
                kind = found.get("kind", "unstorable")
                yield line, Letter(record, found["signal"], found["reason"], kind, found.get("json", False))
            except (ValueError, KeyError, TypeError):
                damaged(number)


def remove(file: Path, lines: set[bytes]) -> None:
    """Takes these lines out of the file, in one step."""
    with locked(file):
        _replace(file, [line for line in file.read_bytes().splitlines(keepends=True) if line not in lines])


def revise(file: Path, rest: Callable[[Letter], bytes | None]) -> None:
    """Goes through all letters, in one step: `rest` says what is left of a letter's body, None if nothing."""
    with locked(file):
        kept = []
        for line, letter in read(file):
            body = rest(letter)
            if body is None:
                continue
            if body != letter.record.body:
                document = orjson.loads(line) | {
                    "items": count(body),
                    "body": base64.b64encode(body).decode(),
                }
                line = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
            kept.append(line)
        _replace(file, kept)


def _replace(file: Path, lines: list[bytes]) -> None:
    staged = file.with_suffix(".new")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.writelines(lines)
        opened.flush()
        os.fsync(descriptor)
    staged.replace(file)
