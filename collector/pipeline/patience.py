"""What did not work is tried again until it does: a store that is away is waited for without end."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from collector.journal import Cursor
from collector.pipeline.breaker import Breaker
from sinks.base import SinkError

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 30.0
OUTAGE_S = 5.0
"""What did not work for so long leaves a backlog behind."""

_CODE = re.compile(r"\bCode: (\d+)")
"""Of ClickHouse, within what it says."""

Result = TypeVar("Result")


class Patience:
    """Tries what may fail, for both threads of a pipeline.

    Args:
        signal: named in log lines.
        cursor: says that the process died over a batch until something fails without killing it.
        stopping: once it is set nothing is tried any more.
    """

    def __init__(self, signal: str, cursor: Cursor, stopping: threading.Event) -> None:
        self._signal = signal
        self._cursor = cursor
        self._stopping = stopping
        self.failed: list[Callable[[str], None]] = []
        """Told of each try that failed: the store's code or the kind of the fault."""
        self.outlasted: Callable[[], None] = lambda: None
        """Told when something works that did not for long."""
        self.retries: Counter[str] = Counter()
        """Tries that failed, by the store's code or the kind of the fault."""
        self.last_error = ""

    def until_done(self, attempt: Callable[[], Result], breaker: Breaker | None = None) -> Result | None:
        """Tries until it works; None if the collector stops first, and the journal keeps what is left."""
        pause = FIRST_RETRY_S
        failed_s = 0.0
        while True:
            if breaker is not None and (wait_s := breaker.wait_s()):
                if self._stopping.wait(wait_s):
                    return None
                continue
            try:
                result = attempt()
            except (SinkError, OSError) as error:
                self._failed(error, str(error))
            except Exception as error:
                log.exception("%s failed", self._signal)
                self._failed(error, f"{type(error).__name__}: {error}")
            else:
                self.last_error = ""
                if breaker is not None:
                    breaker.succeeded()
                if failed_s and time.monotonic() - failed_s >= OUTAGE_S:
                    self.outlasted()
                return result
            failed_s = failed_s or time.monotonic()
            if breaker is not None:
                breaker.failed()
            if breaker is None or not breaker.is_open:
                if self._stopping.wait(random.uniform(0, pause)):  # noqa: S311  # full jitter
                    return None
                pause = min(pause * 2, LONGEST_RETRY_S)

    def _failed(self, error: Exception, why: str) -> None:
        self.last_error = why
        code = _CODE.search(why)
        kind = code[1] if code else type(error).__name__
        self.retries[kind] += 1
        for tell in self.failed:
            tell(kind)
        log.warning("%s: tried again later: %s", self._signal, why)
        if self._cursor.attempts:
            # The process lives: it is not the batch that kills it.
            self.note(self._cursor.survived)

    def note(self, write: Callable[[], object]) -> None:
        """Writes the cursor. If that fails the next batch tries again; until then a restart stores this one again."""
        try:
            write()
        except OSError as error:
            self.last_error = str(error)
            log.error("the cursor of %s is not written: %s", self._signal, error)

    def guard(self, target: Callable[[], None]) -> None:
        """Runs what a thread does. That ends with a fault only if we forgot something: then it is seen."""
        try:
            target()
        except Exception as error:
            self.last_error = f"{type(error).__name__}: {error}"
            log.exception("%s stopped", threading.current_thread().name)
