"""What one looks at when the collector does not do as it should: its pipelines, what it was busy with, its
configuration and its threads. Nothing of what was sent is in it, and no secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collector.config import printed
from collector.config.reload import Reloadable
from collector.forwarding.opening import Forwards
from collector.intake.arrivals import Arrivals
from collector.journal import Readable
from collector.journal.places import SIGNALS
from collector.pipeline.lanes import Lanes
from collector.pipeline.pipeline import Pipeline
from collector.process.endpoints import find
from collector.process.stacks import stacks
from collector.processing import Processing
from collector.telemetry.operations import Operations

if TYPE_CHECKING:
    from collector.workers.crew import Crew

COLLECTOR = "collector"
"""The process that stores, and serves all but what workers do."""


@dataclass(slots=True)
class Inspection:
    """Args:
    directory: the collector's data directory.
    operations: of this process.
    """

    directory: Path
    reloadable: Reloadable
    operations: Operations
    arrivals: Arrivals
    lanes: Lanes
    processing: Processing
    forwards: Forwards
    crew: Crew | None

    def pipelines(self) -> dict[str, Any]:
        """How telemetry goes through the processes, and where it waits."""
        breaker = self.processing.breaker
        return {
            "receivers": asdict(here) if (here := find(self.directory)) else None,
            "signals": {signal: self._signal(signal) for signal in SIGNALS},
            "store": {"failures_in_a_row": breaker.failures, "breaker_open": breaker.is_open},
            "processes": {
                "pid": os.getpid(),
                "inflight_bytes": self.arrivals.inflight_bytes,
                "resident_bytes": self.arrivals.resident_bytes,
                "workers": [hand.document() for hand in self.crew.hands] if self.crew else [],
                "mapping": self.processing.mapping.document() | {"pids": self.processing.mapping.pids},
            },
        }

    def _signal(self, signal: str) -> dict[str, Any]:
        lanes = {lane: one for lane, one in self.lanes.all_journals.items() if one.signal == signal}
        return {
            "balance": self.lanes.balance(signal),
            "lanes": {
                lane: {"journal": _journal(one), "pipeline": _pipeline(self.lanes.all_pipelines[lane])}
                for lane, one in lanes.items()
            },
            "passed_on": {
                sink: {name: value for name, value in of_sink[signal].items() if name != "last_error"}
                for sink, of_sink in self.forwards.document().items()
                if signal in of_sink
            },
        }

    def traces(self) -> dict[str, Any]:
        """How long requests and batches took of late, and which failed; by process."""
        return self._by_process(self.operations.document, "operations")

    def threads(self) -> dict[str, Any]:
        """Where each thread is; by process. Those that map are not among them: each has one thread, which does what a
        `mapping` thread of the collector waits for."""
        return self._by_process(stacks, "threads")

    def configuration(self) -> str:
        """The configuration as `eddyline print-config` prints it, after what of it only a restart takes over."""
        later = "".join(f"# only a restart takes over: {name}\n" for name in self.reloadable.outstanding)
        return later + printed(self.reloadable.settings)

    def _by_process(self, ours: Callable[[], Any], name: str) -> dict[str, Any]:
        told: dict[str, Any] = {COLLECTOR: {"pid": os.getpid(), name: ours()}}
        for number, explained in (self.crew.explained() if self.crew else {}).items():
            told[f"worker {number}"] = (
                {"pid": explained.pid, name: getattr(explained, name)}
                if explained is not None
                else {"pid": None, "error": "it does not answer"}
            )
        return {"processes": told}


def _journal(journal: Readable) -> dict[str, Any]:
    return {
        "bytes": journal.size_bytes,
        "waiting_bytes": journal.waiting_bytes,
        "refuses": journal.room() or None,
        "corrupt_ranges": journal.corrupt_ranges,
    }


def _pipeline(pipeline: Pipeline[Any]) -> dict[str, Any]:
    return {
        "alive": pipeline.is_alive(),
        "waiting_requests": pipeline.waiting_records,
        "lag_s": round(pipeline.lag_s, 3),
        "retries": dict(pipeline.patience.retries),
    }
