"""The look for marks of secrets, through everything that comes: RE2 takes a few µs a span for it, where Python would
take many times that, and does without Python's lock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from mappers.redact import MARKS

FEW_BYTES = 32_768
"""Less than this is looked through by Python: RE2's expression has to be compiled for each search (1.5 ms)."""
AHEAD_BYTES = 4 << 20
"""So much of a batch is looked through at once, while the rest of it is still being read."""

_MARKS = re.compile(MARKS.encode())


def marked(bodies: Sequence[bytes]) -> Sequence[Any]:
    """For each body whether it has a mark of a secret."""
    if sum(map(len, bodies)) < FEW_BYTES:
        return [_MARKS.search(body) is not None for body in bodies]
    import pyarrow as pa
    import pyarrow.compute as pc

    found: Sequence[Any] = pc.match_substring_regex(pa.array(bodies, pa.large_binary()), MARKS).to_pylist()
    return found


class Marks(Protocol):
    """Says of the bodies of a batch which have a mark. Used from one thread."""

    def add(self, body: bytes) -> None:
        """The next body."""

    def found(self) -> Sequence[Any]:
        """For each body that was added since `clear` whether it has a mark. Can be asked again if it fails."""

    def clear(self) -> None:
        """Begins the next batch."""


class MarkSearch:
    """Looks through them while the batch is gathered, in a thread of its own if they are large."""

    def __init__(self) -> None:
        self._begun: list[tuple[list[bytes], Future[Sequence[Any]]]] = []
        self._next: list[bytes] = []
        self._next_bytes = 0
        self._searcher: ThreadPoolExecutor | None = None

    def add(self, body: bytes) -> None:
        self._next.append(body)
        self._next_bytes += len(body)
        if self._next_bytes >= AHEAD_BYTES:
            self._search_ahead()

    def _search_ahead(self) -> None:
        try:
            self._searcher = self._searcher or ThreadPoolExecutor(1, "marks")
            self._begun.append((self._next, self._searcher.submit(marked, self._next)))
        except RuntimeError:  # there is no thread to be had; `found` searches itself
            return
        self._next, self._next_bytes = [], 0

    def found(self) -> list[Any]:
        found: list[Any] = []
        for bodies, search in self._begun:
            found += search.result() if search.exception() is None else marked(bodies)
        return [*found, *marked(self._next)]

    def clear(self) -> None:
        self._begun.clear()
        self._next, self._next_bytes = [], 0
