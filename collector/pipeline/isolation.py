"""Which rows of a batch the store will never take: found by halving, so that a bad row costs itself alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sinks.base import PermanentError

Row = TypeVar("Row")

PATIENCE_S = 60.0
"""After this time what is left is not halved any more: one batch must not hold the others up for longer."""


def unfit(write: Callable[[Sequence[Row]], None], rows: Sequence[Row]) -> list[tuple[int, str]]:
    """Writes all rows that can be written; returns the others, by their place in `rows`, with the reason.

    Raises:
        RetryableError: from `write`; nothing is known then, and all of it may be done again.
    """
    deadline = time.monotonic() + PATIENCE_S
    found: list[tuple[int, str]] = []
    parts = [(0, len(rows))] if rows else []
    while parts:
        begin, end = parts.pop()
        try:
            write(rows[begin:end])
        except PermanentError as error:
            if end - begin == 1 or time.monotonic() > deadline:
                found += [(place, str(error)) for place in range(begin, end)]
            else:
                middle = (begin + end) // 2
                parts += [(middle, end), (begin, middle)]
    return found
