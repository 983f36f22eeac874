"""A run as the evaluation of threads sees it."""

from __future__ import annotations

from collections.abc import Sequence
from sys import getsizeof
from typing import NamedTuple
from zlib import crc32

from mappers.loops.step import StepKind
from mappers.loops.thread import happenings
from mappers.model import Event, Run

RunKey = tuple[str, str]
"""(tenant, run id)"""

APART = 48
"""Runs of a session, on average, between those from which it may be looked at …"""
SPANS_APART = 4_000
"""… or spans, if that is less."""


class Mark(NamedTuple):
    """What was taken of a run."""

    run_id: str
    happenings: int
    digest: int


class Member:
    """A run as it was last assembled, and what of it takes part.

    Of a run that rests only its mark is left: a session that goes on needs no more of what it has taken.
    """

    __slots__ = (
        "_mark", "_text_bytes", "asks", "begins", "draw", "found", "key", "order", "rests", "run",
    )  # fmt: skip

    def __init__(self, run: Run, events: Sequence[Event]) -> None:
        self.run = run
        self.key: RunKey = (run.tenant, run.run_id)
        self.order = run.start_ns, run.run_id
        """Among the runs of its session."""
        self.draw = crc32(run.run_id.encode()) / 2**32
        """A number from 0 to 1 that is drawn by the run's id alone."""
        self.begins = self.draw < max(1 / APART, run.counts.spans / SPANS_APART)
        """Whether its draw makes it one of those from which a session may be looked at. It may come to that as it
        grows."""
        self.wake(events)

    def wake(self, events: Sequence[Event]) -> None:
        """Takes up what takes part."""
        self.rests = False
        self.found = happenings(events)
        self.asks = bool(self.found) and any(one.kind is StepKind.CALL for one in self.found)
        """Models ask for tools of whose execution nothing tells."""
        self._mark: Mark | None = None
        self._text_bytes: int | None = None

    def rest(self) -> None:
        """Lets go of what takes part, and of its texts for whoever keeps some of it."""
        self._mark = self.mark
        self.rests = True
        for happening in self.found:
            happening.given = happening.answered = ""
        self.found = []
        self._text_bytes = 0

    @property
    def text_bytes(self) -> int:
        """What the texts take that are held. Ask once the run is evaluated: some are let go of then."""
        if self._text_bytes is None:
            self._text_bytes = sum([getsizeof(one.given) + getsizeof(one.answered) for one in self.found])
        return self._text_bytes

    @property
    def mark(self) -> Mark:
        if self._mark is None:
            self._mark = self.mark_of(len(self.found))
        return self._mark

    def mark_of(self, count: int) -> Mark:
        """Of the first happenings."""
        return Mark(self.run.run_id, count, hash(tuple([one.identity for one in self.found[:count]])))
