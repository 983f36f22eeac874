"""Fills the tables that runs are found by, every few seconds."""

from __future__ import annotations

import logging
import threading

from sinks.base import SinkError
from sinks.clickhouse.runindex import RunIndex

log = logging.getLogger(__name__)

EVERY_S = 15.0
"""What was written since is looked for without the tables."""


class Indexing:
    """Works in a thread of its own."""

    def __init__(self, index: RunIndex) -> None:
        self._index = index
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="indexing")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after what is under way; the next start goes on there."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._index.fill(self._stopping.is_set)
            except SinkError as error:
                log.warning("runs are put under their values later: %s", error)
            except Exception:
                log.exception("runs are put under their values later")
            self._stopping.wait(EVERY_S)
