"""What is stored in all, for a collector that shares its store with others."""

from __future__ import annotations

import time

from collector.pipeline.stages import Totals
from sinks.clickhouse import Reader

SHARE_OF_TIME = 20
"""Counting what is stored may take one part in so many of the time."""


class SharedTotals:
    """Counts anew what others add to; to be asked now and then, from one thread."""

    def __init__(self, reader: Reader, totals: Totals) -> None:
        self._reader = reader
        self._totals = totals
        self._not_before = 0.0

    def count(self) -> None:
        """Raises: SinkError."""
        began = time.monotonic()
        if began < self._not_before:
            return
        spans, events, runs = self._reader.totals()
        self._totals.spans, self._totals.events, self._totals.runs = spans, events, runs
        ended = time.monotonic()
        self._not_before = ended + (ended - began) * SHARE_OF_TIME
