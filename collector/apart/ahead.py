"""Batches that are mapped elsewhere while those before them are derived here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from collector.apart.processes import Piece, Processes
from collector.apart.undecoded import Undecoded
from collector.journal import Record
from collector.mapped import Finish, Mapped, Outcome, SetAside, SpanMapper, redacted
from collector.marks import marked
from collector.sent import FEW_SPANS
from collector.understanding import Understanding
from mappers.model import Event, Span
from sinks.base import Sent

PIECE_BYTES = 4 << 20
"""Of bodies that are answered at once: what a process holds at a time, and what waits while its answer is read."""
LOOK_S = 0.5


class Ahead:
    """Has batches of one pipeline mapped. Used from one thread.

    Args:
        here: maps what nobody else does.
    """

    def __init__(self, processes: Processes, here: SpanMapper, understanding: Understanding) -> None:
        self._processes = processes
        self._here = here
        self._understanding = understanding
        self._searcher = ThreadPoolExecutor(1, "marks")

    @property
    def depth(self) -> int:
        """One batch to be derived next, and one for each process. What more is done to spans than to look for secrets
        would have to be done here once more: then none."""
        may = self._understanding.rules.secrets_only and self._processes.are_ready()
        return self._processes.most + 1 if may else 0

    def begin(self, records: Sequence[Record]) -> Finish[Span] | None:
        """Has the records of a batch mapped. None if they are too few, so that their spans are needed here."""
        if sum(record.header.items for record in records) < FEW_SPANS:
            return None
        generation = self._processes.generation
        pieces = []
        for part in _parts(records):
            has_mark = self._searcher.submit(marked, [record.body for record in part])
            pieces.append(Piece(part, has_mark, generation))
        for piece in pieces:
            self._processes.ask(piece)
        return partial(self._finish, pieces)

    def _finish(
        self,
        pieces: Sequence[Piece],
        set_aside: SetAside,
        again: Callable[[], Iterable[Record]],
        stopping: threading.Event,
    ) -> Mapped[Span] | None:
        events: list[Event] = []
        requests: list[bytes] = []
        untold: list[Record] = []
        """Their spans are not stored as they were sent."""
        for piece in pieces:
            outcome = self._outcome(piece, stopping)
            if outcome is None:
                return None
            for record, fault, request in zip(piece.records, outcome.faults, outcome.requests, strict=True):
                if fault:
                    set_aside(record, fault)
                elif request is None:
                    untold.append(record)
                else:
                    requests.append(request)
            events += outcome.events
        rest = self._redacted(untold) if untold else ()
        # From the journal, since to hold on to records for what hardly happens takes 50 MB.
        spans = Undecoded(events, lambda: self._redacted(again()))
        return Mapped(spans, events, Sent(requests, rest))

    def _redacted(self, records: Iterable[Record]) -> list[Span]:
        """The spans of records that are decoded here after all. May be called from any thread."""
        return redacted(records, self._understanding.redaction("traces"))

    def _outcome(self, piece: Piece, stopping: threading.Event) -> Outcome | None:
        answer = None
        while not stopping.is_set():
            try:
                answer = piece.answer.result(LOOK_S)
            except TimeoutError:
                continue
            if answer is None or piece.generation != self._processes.generation:
                return self._here.each(piece.records)
            self._understanding.found_elsewhere(answer.findings)
            return answer.outcome
        return None


def _parts(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    part: list[Record] = []
    size = 0
    for record in records:
        part.append(record)
        size += len(record.body)
        if size >= PIECE_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
