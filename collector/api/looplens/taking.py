"""What LoopLens' SDK sends, one event at a time, becomes spans as soon as calls end.

A call's start waits in memory for its end; what has ended is durable before the sender is answered. The run's root
follows at its end, so that a run whose program died is one without a root.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from collector.importing.looplens import Assembly, read

MOST_RUNS = 1_000
MOST_HELD = 100_000
"""Starts that wait for their ends, of all runs; then the run that was silent longest is given up."""

Owner = tuple[str, str]
"""(tenant, project of the key)"""


class Taking:
    """Runs that are on their way. May be used from any number of threads."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[Owner, str], Assembly] = OrderedDict()
        self._lock = threading.Lock()

    def announce(self, owner: Owner, run_id: str, name: str, project: str) -> None:
        """A run begins."""
        with self._lock:
            self._of(owner, run_id, name, project)

    def take(self, owner: Owner, event: dict[str, Any]) -> tuple[dict[str, Any], Callable[[], None]] | None:
        """An event; the OTLP/JSON request of what it completes, and what to do if that can not be stored now.

        Raises: NotImportableError.
        """
        at_ns = read(event)
        with self._lock:
            run = self._of(owner, event["run_id"])
            spans = run.take(at_ns, event)
            if run.ended and event["type"] in ("run_completed", "run_failed"):
                spans = [*run.close(), *spans]
            if sum(one.held for one in self._runs.values()) > MOST_HELD:
                self._runs.popitem(last=False)
            return (run.request(spans), partial(self._undo, run.undo())) if spans else None

    def _undo(self, undo: Callable[[], None]) -> None:
        with self._lock:
            undo()

    def sequence(self, owner: Owner, run_id: str) -> int:
        """How many events of the run came."""
        with self._lock:
            return self._of(owner, run_id).events

    def _of(self, owner: Owner, run_id: str, name: str = "", project: str = "") -> Assembly:
        key = owner, run_id
        run = self._runs.pop(key, None) or Assembly(run_id)
        run.name, run.project = name or run.name, project or run.project
        self._runs[key] = run
        if len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)
        return run
