"""Runs from events: takes a batch into the recent runs, and settles those that it touched.

A run is a function of its stored events, so nothing here needs to survive: after a restart, or when a run
has left the memory, its events are read back and the result is the same.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Protocol

from collector.deriver.derived import Derived
from collector.deriver.pace import Cost, Pace
from collector.deriver.recent import EventKey, Recent, RecentRun, RunStore
from collector.deriver.twins import CallStore, Twins
from collector.loops import Watch
from collector.telemetry.telemetry import about
from mappers.assemble import LIST_PRICES, assemble, outlined
from mappers.filling import Price
from mappers.model import Event, Run
from sinks.base import RunKey, SinkError

log = logging.getLogger(__name__)


class EventStore(RunStore, CallStore, Protocol):
    """The part of a store's reader that the deriver needs."""


class Deriver:
    """Settles the runs that a batch of events touches. Used from one thread.

    Args:
        store: where events of runs that are not in memory are read.
        max_events: events kept in memory; least recently touched runs leave first.
        watch: looks for loops in what was settled.
        price: what calls cost of which something was filled in.
        pace: which of the touched runs wait until they are settled; None: none does.
        rows_tell: nothing is stored of a run that has no row, but of those that are owed; see `Recent`.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        max_events: int,
        watch: Watch | None = None,
        price: Price = LIST_PRICES,
        pace: Pace | None = None,
        rows_tell: bool = False,
    ) -> None:
        self._recent = Recent(store, max_events=max_events, rows_tell=rows_tell)
        self._twins = Twins(store, self._recent)
        self._price = price
        self._pace = pace
        self._watch = watch
        self._owed: dict[RunKey, None] = {}
        """Runs that are to be settled; those that are not in memory are read back."""
        self._next_due_s = float("inf")
        self._unfinished: Derived | None = None
        """What a batch had led to when the store failed, and what deriving it once more would not find again."""
        self._deleted: deque[RunKey] = deque()

    def owe(self, runs: Iterable[RunKey]) -> None:
        """Has stored runs settled with the next batch."""
        self._owed |= dict.fromkeys(runs)
        self._next_due_s = 0.0

    def hurry(self) -> None:
        """From now on no run waits. May be called from any thread."""
        self._pace = None

    def due_in_s(self) -> float:
        """After how many seconds a run that waits could be settled; infinite if none waits. May be asked from any
        thread."""
        pace = self._pace
        if not self._owed:
            return float("inf")
        return max(0.0, self._next_due_s - pace.now_s()) if pace is not None else 0.0

    def discard(self, events: Iterable[Event]) -> None:
        """Events that are not stored after all. May be called from any thread; it holds from the next batch on."""
        self._recent.discard(events)

    def forget(self, keys: Iterable[RunKey]) -> None:
        """Runs that are no more. May be called from any thread; it holds from the next batch on."""
        self._deleted.extend(keys)

    def derive(
        self,
        events: Sequence[Event],
        *,
        batch: int,
        stored: int,
        again: Collection[RunKey] = (),
        pressed: bool = False,
        overtaken: bool = False,
    ) -> Derived:
        """Adds the events to their runs and settles these runs, or those that waited for it, and in any case those
        that are to be settled `again`.

        Of events with one identity the last counts. If they may be `overtaken` by some that came later, the one counts
        that ends last: that is how a span that is sent again grows. `batch` numbers the calls upwards; `stored` is the
        number of the newest batch whose rows can be read back: runs touched since then must stay in memory. `pressed`
        says that more events are there already.

        Raises:
            SinkError: the store could not be read. The same events can be derived once more.
        """
        derived, self._unfinished = self._unfinished or Derived(), None
        try:
            self._derive(events, derived, batch, stored, again, pressed=pressed, overtaken=overtaken)
        except SinkError:
            self._unfinished = replace(derived, runs=[], events=[], warnings=[], outdated=[])
            raise
        return derived

    def _derive(
        self,
        events: Sequence[Event],
        derived: Derived,
        batch: int,
        stored: int,
        again: Collection[RunKey],
        *,
        pressed: bool,
        overtaken: bool,
    ) -> None:
        recent, runs = self._recent, self._recent.runs
        recent.drop_discarded()
        self._drop_deleted()
        touched: dict[RunKey, list[Event]] = {key: [] for key in self._owed if key not in runs}
        touched |= {key: [] for key in again}
        for event in events:
            touched.setdefault((event.tenant, event.run_id), []).append(event)
        absent = touched.keys() - runs.keys()
        loaded = recent.load(absent, batch, sought=recent.with_events(absent, {*self._owed, *again}))
        unknown = absent - loaded
        loaded |= self._twins.load([*events, *recent.events_in(loaded)], batch)
        if overtaken:
            touched = {key: _current(runs[key], arrived, derived) for key, arrived in touched.items()}
            events = [event for arrived in touched.values() for event in arrived]
        fresh: dict[RunKey, Mapping[EventKey, Event]] = {}
        for key, arrived in touched.items():
            if arrived:
                fresh[key], new = recent.add(key, arrived)
                derived.count(key, new)
        joined = self._twins.join([*events, *recent.events_in(loaded.union(again))])
        for key in again:
            runs[key].cost = Cost()
        for key in dict.fromkeys([*touched, *joined]):
            run = runs[key]
            run.batch = batch
            runs.move_to_end(key)
            if run.begun:
                self._owed[key] = None
            else:  # nothing but parts, or nothing at all
                self._owed.pop(key, None)
        self._settle_due(fresh, unknown, derived, pressed=pressed)
        fresh_events = [event for arrived in fresh.values() for event in arrived.values()]
        derived.events += map(_as_settled, fresh_events)
        recent.derived(batch, fresh_events, self._owed)
        for gone in recent.leave(stored, self._owed):
            self._twins.left(gone)

    def rederive(self, keys: Sequence[RunKey]) -> Derived:
        """Settles runs from what is stored of them alone, whoever stored it. For a deriver that does nothing else
        before or after: it keeps what it read. Raises: SinkError."""
        derived = Derived()
        loaded = self._recent.load(keys, 0)
        loaded |= self._twins.load(self._recent.events_in(loaded), 0)
        joined = self._twins.join(self._recent.events_in(loaded))
        assembled: list[tuple[Run, Sequence[Event]]] = []
        for key in dict.fromkeys([*keys, *joined]):
            if self._recent.runs[key].begun:
                self._settle(key, {}, derived, assembled)
        self._look_for_loops(assembled, set(), derived)
        return derived

    def _drop_deleted(self) -> None:
        while self._deleted:
            key = self._deleted.popleft()
            self._owed.pop(key, None)
            self._twins.deleted(self._recent.drop(key))

    def _settle_due(
        self,
        fresh: Mapping[RunKey, Mapping[EventKey, Event]],
        unknown: set[RunKey],
        derived: Derived,
        *,
        pressed: bool,
    ) -> None:
        """Settles the runs that need not wait, and looks for loops in them."""
        pace, runs = self._pace, self._recent.runs
        if pace is None or self._recent.is_crowded:
            due = list(self._owed)
        else:
            due = pace.due({key: runs[key].cost for key in self._owed}, pressed=pressed)
        began_s = pace.now_s() if pace is not None else 0.0
        assembled: list[tuple[Run, Sequence[Event]]] = []
        for key in due:
            self._settle(key, fresh.get(key, {}), derived, assembled)
        self._look_for_loops(assembled, unknown, derived)
        for key in due:
            del self._owed[key]
        if pace is None:
            return
        ended_s = pace.now_s()
        each_s = (ended_s - began_s) / max(1, sum([len(runs[key].events) for key in due]))
        for key in due:
            run = runs[key]
            run.cost = Cost(ended_s, each_s * len(run.events))
        self._next_due_s = pace.next_due_s({key: runs[key].cost for key in self._owed})

    def _settle(
        self,
        key: RunKey,
        fresh: Mapping[EventKey, Event],
        derived: Derived,
        assembled: list[tuple[Run, Sequence[Event]]],
    ) -> None:
        recent = self._recent.runs[key]
        events = list(recent.events.values())
        try:
            assembly = assemble(events, recent.foreign, self._price, compared=len(fresh) < len(events))
        except Exception:  # a run that we can not make sense of must not keep the others waiting
            log.exception("a run can not be assembled; its events are stored", extra=about(*key))
            # It has a row all the same, so that its events are found when more of it comes.
            if recent.is_outlined or not (recent.is_assembled or self._recent.has_row(key)):
                recent.is_outlined = True
                derived.runs.append(outlined(recent.events.values()))
            return
        recent.is_assembled = True
        derived.runs.append(assembly.run)
        assembled.append((assembly.run, events))
        derived.resettled += [
            copy(event) for event in assembly.changed if fresh.get((event.span_id, event.seq)) is not event
        ]

    def _look_for_loops(
        self, assembled: Sequence[tuple[Run, Sequence[Event]]], new: set[RunKey], derived: Derived
    ) -> None:
        if self._watch is None:
            return
        try:
            watched = self._watch.watch(assembled, new, self._recent.at_hand)
        except SinkError:
            raise
        except Exception:  # runs must be seen even if what is wrong with them can not
            log.exception("loops can not be looked for in a batch; its runs are stored")
            return
        derived.warnings, derived.before = watched.warnings, watched.before
        derived.runs += watched.runs


def _current(run: RecentRun, arrived: Sequence[Event], derived: Derived) -> list[Event]:
    """Those of the events that are no older versions of what is known."""
    current = []
    for event in arrived:
        known = run.events.get((event.span_id, event.seq))
        if known is not None and event.end_ns < known.end_ns:
            derived.outdated.append(event)
        else:
            current.append(event)
    return current


def _as_settled(event: Event) -> Event:
    return copy(event) if event.filled or event.handoff_source else event
