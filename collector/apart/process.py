"""The process that maps: hears records, tells events, and nothing else. It ends when who started it is gone."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from collector.apart.line import Line
from collector.apart.telling import READY, Answer, Start, answer_of, marks_of, records_of, settings_of
from collector.otlp.decode import keep_levels
from collector.pipeline.mapped import SpanMapper
from collector.process.interpreter import calm_garbage_collection, cpu_seconds
from collector.telemetry.telemetry import configure_logging
from collector.understanding.prices import load_prices
from collector.understanding.understanding import Findings, Understanding

log = logging.getLogger(__name__)

LOW = 10
"""Doors and the engine come first: what nobody maps here in time is mapped in the collector."""


class KnownMarks:
    """Marks that the collector has looked for already: here it would take an engine for expressions that is as large
    as all the rest."""

    def __init__(self) -> None:
        self._known: Mapping[int, bool] = {}
        self._found: list[bool] = []

    def expect(self, bodies: Sequence[bytes], marks: Sequence[bool]) -> None:
        """These may be added next."""
        self._known = dict(zip(map(id, bodies), marks, strict=True))

    def add(self, body: bytes) -> None:
        self._found.append(self._known[id(body)])

    def found(self) -> Sequence[bool]:
        return self._found

    def clear(self) -> None:
        self._found = []


class Reader:
    """Answers what is heard.

    Raises: ConfigError, ValueError: the settings mean something else here.
    """

    def __init__(self, start: Start) -> None:
        settings = settings_of(start)
        prices = load_prices(settings.pricing.overrides)
        if prices.overrides_version != start.prices:
            raise ValueError("the file of prices has changed since it was read")
        understanding = Understanding(settings, prices)
        self._marks = KnownMarks()
        self._engine = understanding.engine
        self._normalizer = understanding.normalizer()
        self._redaction = understanding.redaction("traces", self._marks)
        self._mapper = SpanMapper(self._normalizer, self._redaction, keep_sent=True)
        self._told = self._findings()
        self._cpu_s = 0.0

    def answer(self, work: list[Any]) -> Any:
        """Raises: whatever keeps it from being answered."""
        records = records_of(work)
        self._marks.expect([record.body for record in records], marks_of(work))
        outcome = self._mapper.each(records)
        found = self._findings()
        told, self._told = self._told, found
        before_s, self._cpu_s = self._cpu_s, cpu_seconds()
        return answer_of(Answer(outcome, found - told, self._cpu_s - before_s))

    def _findings(self) -> Findings:
        """Since the start."""
        return Findings(
            Counter(self._normalizer.faults),
            Counter(self._engine.faults),
            self._redaction.masked,
            self._redaction.failures,
        )


def serve(line: Line) -> None:
    """Answers until nobody asks any more.

    Raises: EOFError, OSError: the collector is gone.
    """
    start = Start(*line.hear())
    configure_logging(start.log_level)
    keep_levels(start.levels)
    try:
        reader = Reader(start)
    except Exception as error:
        log.exception("a process that maps can not begin")
        line.say(str(error))
        return
    calm_garbage_collection()
    line.say(READY)
    while True:
        work = line.hear()
        try:
            answer = reader.answer(work)
        except Exception as error:  # the collector maps it itself, and counts this
            log.exception("records can not be mapped here")
            answer = str(error)
        line.say(answer)


def _end_with(connected: socket.socket) -> None:
    """Ends this process when the other end is gone, whatever a plugin is at."""
    closed = select.poll()
    closed.register(connected, 0)
    closed.poll()
    os._exit(0)


def main() -> None:
    """`python -m collector.apart.process LINE`: a descriptor."""
    gc.disable()
    os.nice(LOW)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    connected = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(connected,), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        serve(Line(connected))


if __name__ == "__main__":
    main()
