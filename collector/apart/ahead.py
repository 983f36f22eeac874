"""Batches that are mapped elsewhere while those before them are derived here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

from collector.apart.processes import Piece, Processes
from collector.journal import Record
from collector.pipeline.mapped import Finish, Mapped, Outcome, SetAside, SpanMapper, redacted
from collector.pipeline.marks import marked
from collector.pipeline.sent import FEW_SPANS
from collector.pipeline.undecoded import Undecoded
from collector.understanding.understanding import Understanding
from mappers.model import Event, Span
from sinks.base import Sent

PIECE_BYTES = 1 << 20
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
        outcomes = self._outcomes(pieces, again, stopping)
        if outcomes is None:
            return None
        for piece, outcome in zip(pieces, outcomes, strict=True):
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

    def _outcomes(
        self, pieces: Sequence[Piece], again: Callable[[], Iterable[Record]], stopping: threading.Event
    ) -> list[Outcome] | None:
        """Of all pieces, in order; None if the collector stops first. While processes are at some of them, those that
        none has begun are mapped here, from the last on: this thread would only wait."""
        here: dict[Piece, Outcome] = {}
        for piece in pieces:
            while piece not in here and not piece.answer.done():
                own = next((one for one in reversed(pieces) if one not in here and one.answer.cancel()), None)
                if own is not None:
                    here[own] = self._here.each(own.records)
                elif stopping.is_set():
                    return None
                else:
                    wait([piece.answer], LOOK_S)
        return [here[piece] if piece in here else self._told(piece, again) for piece in pieces]

    def _told(self, piece: Piece, again: Callable[[], Iterable[Record]]) -> Outcome:
        answer = None if piece.answer.cancelled() else piece.answer.result()
        if answer is None:
            return self._here.each(piece.records)
        if piece.generation != self._processes.generation:
            answered = {record.sequence for record in piece.records}
            piece.records = [record for record in again() if record.sequence in answered]
            return self._here.each(piece.records)
        self._understanding.found_elsewhere(answer.findings)
        return answer.outcome


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
