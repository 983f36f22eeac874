"""Rows that are made anew of what is stored, without a request that brought them: in the order of the pipelines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from collector.pipeline.order import WriteOrder
from collector.pipeline.stages import Derivation
from mappers.model import Event
from sinks.base import Batch, RunKey, Sink, SinkError

log = logging.getLogger(__name__)

RETRY_S = 1.0
TURN_S = 0.5
LAST_TURN_S = 5.0

Result = TypeVar("Result")


class StoppedError(Exception):
    """The collector ends before it is done."""


class Rewriter:
    """Derives and stores batches of its own. May be used from any number of threads."""

    def __init__(self, order: WriteOrder, derivation: Derivation, sink: Sink) -> None:
        self._order = order
        self._derivation = derivation
        self._sink = sink
        self.stopping = threading.Event()

    def rewrite(self, events: Sequence[Event], again: Collection[RunKey] = ()) -> None:
        """Stores these events and what follows from them for their runs, and settles the runs `again`.

        A store that is away is waited for. Raises: StoppedError.
        """
        with self._order.next_batch() as number:
            try:
                prepared = self._patiently(
                    lambda: self._derivation.prepare(
                        Batch(),
                        events,
                        lambda derived: None,
                        number=number,
                        stored=self._order.stored,
                        pressed=False,
                        items=0,
                        again=again,
                    )
                )
            except BaseException:
                self._take_turn(number)
                raise
        try:
            self._await_turn(number)
            self._patiently(prepared.before_write)
            self._patiently(lambda: self._sink.write(prepared.batch))
            prepared.after_write()
        finally:
            self._take_turn(number)

    def _take_turn(self, number: int) -> None:
        """Lets those behind go on, whatever became of this batch. At the end, those before may never come on."""
        while not self._order.await_turn(number, LAST_TURN_S):
            if self.stopping.is_set():
                return
        self._order.advance(number)

    def _await_turn(self, number: int) -> None:
        while not self._order.await_turn(number, TURN_S):
            if self.stopping.is_set():
                raise StoppedError

    def _patiently(self, attempt: Callable[[], Result]) -> Result:
        while True:
            try:
                return attempt()
            except SinkError as error:
                log.warning("tried again later: %s", error)
            if self.stopping.wait(RETRY_S):
                raise StoppedError
