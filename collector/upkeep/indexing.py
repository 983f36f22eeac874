"""Fills the tables that runs are found by, every few seconds."""

from __future__ import annotations

import logging

from collector.process.repeating import Repeating
from sinks.base import SinkError
from sinks.clickhouse.runindex import RunIndex

log = logging.getLogger(__name__)

EVERY_S = 15.0
"""What was written since is looked for without the tables."""


class Indexing(Repeating):
    """Goes on where the process before ended."""

    def __init__(self, index: RunIndex) -> None:
        super().__init__("indexing", EVERY_S)
        self._index = index

    def look(self) -> None:
        try:
            self._index.fill(self._stopping.is_set)
        except SinkError as error:
            log.warning("runs are put under their values later: %s", error)
        except Exception:
            log.exception("runs are put under their values later")
