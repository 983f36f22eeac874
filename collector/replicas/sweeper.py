"""Looks for loops where several collectors share a store: spans of one run come to any of them.

Each stores what it gets and derives what it can see. Every few seconds each looks at those of the runs touched lately
that it owns — by a hash over the collectors that live — from what all have stored. What it finds does not depend on
who looks: warnings have ids of their own, and a run that two look at while one takes over from the other comes out the
same.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Protocol

from collector.deriver.derived import Derived, Tell
from collector.loops import Watch
from collector.replicas.ownership import owner
from collector.telemetry.operations import Operation
from mappers.model import Event, Run
from sinks.base import Batch, RunKey, Sink, SinkError
from sinks.clickhouse.instances import Instance
from sinks.clickhouse.queries.sweeping import Touched

log = logging.getLogger(__name__)

BEAT_S = 2.0
OVERLAP_NS = 60 * 10**9
"""Looked back beyond what was seen to the end: inserts take their time to be seen."""
AT_A_TIME = 100
"""Runs."""
ENDING_S = 5.0
"""Longest that a collector which ends goes on looking at runs; what is left is the others'."""


def instance_name() -> str:
    """A name that no other collector has, and that says where it runs."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


class SweepStore(Protocol):
    """The part of a store's reader that sweeping needs."""

    def touched(self, since_ns: int) -> Sequence[Touched]: ...

    def runs_by_id(self, tenant: str, run_ids: Sequence[str]) -> dict[str, Run]: ...


class Registry(Protocol):
    """`sinks.clickhouse.instances.Instances`."""

    def now_ns(self) -> int: ...

    def beat(self, name: str, swept_to_ns: int, *, leaves: bool = False) -> None: ...

    def all(self) -> list[Instance]: ...


class Sweeper:
    """Sweeps in a thread of its own; `sweep` may be called instead.

    Args:
        name: of this collector, unlike all others'.
        watching: makes what looks for loops; what it remembers holds as long as the same collectors live.
        derive: settles runs from what is stored of them, and has them looked at.
        rows: the stored rows of events with what their runs now say of them.
        tell: called with warnings once they are stored.
        swept: called after each sweep; may ask the store what others did.
        operation: notes how long it took to look at runs.
    """

    def __init__(
        self,
        name: str,
        store: SweepStore,
        instances: Registry,
        watching: Callable[[], Watch],
        derive: Callable[[Sequence[RunKey], Watch], Derived],
        rows: Callable[[Sequence[Event]], Sequence[Event]],
        sink: Sink,
        tell: Tell = lambda warnings, runs, before: None,
        *,
        swept: Callable[[], None] = lambda: None,
        operation: Operation | None = None,
        interval_s: float = 5.0,
    ) -> None:
        self.name = name
        self._store = store
        self._instances = instances
        self._watching = watching
        self._derive = derive
        self._watch = watching()
        self._alive: set[str] = set()
        self._rows = rows
        self._sink = sink
        self._tell = tell
        self._swept = swept
        self._operation = operation or Operation()
        self._interval_s = interval_s
        self._swept_to_ns = 0
        self._seen: dict[RunKey, Touched] = {}
        self._closing = threading.Event()
        self._ends_at_s = math.inf
        self._threads = [
            threading.Thread(target=self._repeat, args=(interval_s, self.sweep), name="sweeper", daemon=True),
            threading.Thread(target=self._repeat, args=(BEAT_S, self.beat), name="sweeper beat", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self, within_s: float = ENDING_S) -> None:
        """Sweeps once more, so that little is left to the others, and tells them."""
        self._ends_at_s = time.monotonic() + within_s
        self._closing.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._try(self.sweep)
        self._try(self._leave)

    def beat(self) -> None:
        """Says that this collector lives. Raises: SinkError."""
        self._instances.beat(self.name, self._swept_to_ns)

    def _leave(self) -> None:
        self._instances.beat(self.name, self._swept_to_ns, leaves=True)

    def begin_anew(self) -> None:
        """With the next sweep nothing is remembered of runs. May be called from any thread."""
        self._alive = set()

    def sweep(self) -> int:
        """Looks at the runs that this collector owns and that were touched; returns how many. Without time left it
        stops where it is, and says nothing of having looked further.

        Raises: SinkError.
        """
        now_ns = self._instances.now_ns()
        known = self._instances.all()
        if not self._swept_to_ns:
            self._swept_to_ns = max((instance.swept_to_ns for instance in known), default=0) or now_ns
        alive = {instance.name for instance in known if instance.is_alive} | {self.name}
        if alive != self._alive:  # what others owned meanwhile is not what is remembered of it
            self._alive, self._watch = alive, self._watching()
        left = [instance.swept_to_ns for instance in known if instance.name not in alive]
        since_ns = min([self._swept_to_ns, *left]) - OVERLAP_NS
        touched = self._store.touched(since_ns)
        mine = [
            run
            for run in touched
            if self._seen.get((run.tenant, run.run_id)) != run and owner(run.together, alive) == self.name
        ]
        try:
            for begin in range(0, len(mine), AT_A_TIME):
                if time.monotonic() >= self._ends_at_s:
                    return begin
                some = mine[begin : begin + AT_A_TIME]
                with self._operation.doing() as doing:
                    doing.told["runs"] = len(some)
                    self._look_at(some)
        except Exception:
            self._alive = set()  # what was found may not be stored
            raise
        current = {(run.tenant, run.run_id) for run in touched}
        self._seen = {key: run for key, run in self._seen.items() if key in current}
        self._swept_to_ns = now_ns
        self._swept()
        return len(mine)

    def _look_at(self, runs: Sequence[Touched]) -> None:
        derived = self._derive([(run.tenant, run.run_id) for run in runs], self._watch)
        changed = self._changed(derived.runs)
        events = self._rows(derived.resettled)
        if events or changed or derived.warnings:
            self._sink.write(Batch(events=events, runs=changed, warnings=derived.warnings))
        if derived.warnings:
            self._tell(derived.warnings, derived.runs, derived.before)
        self._seen |= {(run.tenant, run.run_id): run for run in runs}

    def _changed(self, runs: Sequence[Run]) -> list[Run]:
        """Those that are not stored as they are."""
        by_tenant: dict[str, list[str]] = {}
        for run in runs:
            by_tenant.setdefault(run.tenant, []).append(run.run_id)
        stored = {
            (tenant, run_id): run
            for tenant, run_ids in by_tenant.items()
            for run_id, run in self._store.runs_by_id(tenant, run_ids).items()
        }
        return [
            run
            for run in runs
            if (before := stored.get((run.tenant, run.run_id))) is None or _told(before) != _told(run)
        ]

    def _repeat(self, every_s: float, what: Callable[[], object]) -> None:
        while not self._closing.is_set():
            self._try(what)
            self._closing.wait(every_s)

    def _try(self, what: Callable[[], object]) -> None:
        try:
            what()
        except SinkError as error:
            log.warning("the runs of several collectors can not be looked at now: %s", error)
        except Exception:  # the next time may go better, and nothing is lost until then
            log.exception("looking at the runs of several collectors failed")


def _told(run: Run) -> list[object]:
    """The run's fields; sequences come back from the store as lists."""
    values = [getattr(run, field.name) for field in fields(run)]
    return [list(value) if isinstance(value, tuple) else value for value in values]
