"""Recent runs with their events, in memory: what bounds them, and how older ones are read back."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

from collector.deriver.compacting import Compacting
from collector.deriver.derived import New
from collector.deriver.pace import Cost
from mappers.foreign import Foreign
from mappers.model import Event
from sinks.base import RunKey

EventKey = tuple[str, int]
"""(span_id, seq)"""

CHARACTERS = 1_000
"""Of texts that weigh as much as an event without: that takes 1.7 kB. Roots, parts and log records keep theirs."""


class RunStore(Protocol):
    """The part of a store's reader by which runs are read back."""

    def events_of(self, tenant: str, run_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """Stored events by run id; a run without any is absent."""

    def runs_with_rows(self, tenant: str, run_ids: Sequence[str]) -> Set[str]:
        """Those of these runs that were settled and stored."""


@dataclass(slots=True)
class RecentRun:
    """A run that is in memory."""

    events: dict[EventKey, Event]
    batch: int
    """Number of the newest batch that touched the run."""
    begun: bool
    """It has an event of its own: what is only part of an event waits for that, and is no run."""
    foreign: dict[str, Foreign] = field(default_factory=dict)
    """What other traces know, by span id."""
    cost: Cost = field(default_factory=Cost)
    texts: int = 0
    """What the texts that are kept of its events weigh, in events; see `CHARACTERS`."""
    is_assembled: bool = False
    """It could be, since it is in memory."""
    is_outlined: bool = False
    """It could not be, and nothing was said of it before."""


class Recent:
    """Runs with all their events, those touched least recently first.

    Args:
        store: where events of runs that are not in memory are read.
        max_events: events kept in memory; least recently touched runs leave first.
        rows_tell: nothing is stored of a run that has no row, but of those that are said to. Then the events of new
            runs are not looked for among all that are stored, which takes the longer the more there are.
    """

    def __init__(self, store: RunStore, *, max_events: int, rows_tell: bool = False) -> None:
        self._store = store
        self._max_events = max_events
        self._rows_tell = rows_tell
        self.runs: OrderedDict[RunKey, RecentRun] = OrderedDict()
        self._held = 0
        """Events, with what their texts weigh."""
        self._discarded: deque[Event] = deque()
        self._unread: deque[tuple[int, Sequence[Event]]] = deque()
        """Events of batches that may still be read for writing, by the batch's number."""
        self._whole: dict[RunKey, list[Event]] = {}
        """Stored events of runs that wait, with their texts."""
        self._compacting = Compacting()

    @property
    def is_crowded(self) -> bool:
        """Twice as much is held as should be: runs that wait to be settled can not leave."""
        return self._held > 2 * self._max_events

    def events_in(self, keys: Iterable[RunKey]) -> list[Event]:
        return [event for key in keys for event in self.runs[key].events.values()]

    def at_hand(self, key: RunKey) -> Sequence[Event]:
        """The run's events; none if it is not in memory."""
        run = self.runs.get(key)
        return list(run.events.values()) if run is not None else ()

    # ------------------------------------------------------------------- coming

    def load(self, keys: Iterable[RunKey], batch: int, sought: Set[RunKey] | None = None) -> set[RunKey]:
        """Reads runs back that are not in memory; a new one is empty, and so is one that is not `sought`. Returns those
        of which there are events.

        Raises:
            SinkError: the store could not be read.
        """
        loaded = set()
        for tenant, run_ids in _by_tenant(keys).items():
            stored = run_ids if sought is None else [one for one in run_ids if (tenant, one) in sought]
            found = self._store.events_of(tenant, stored) if stored else {}
            for run_id in run_ids:
                events = found.get(run_id, ())
                self.runs[tenant, run_id] = RecentRun(
                    {(event.span_id, event.seq): event for event in events},
                    batch,
                    begun=not all(event.part for event in events),
                )
                self._held += len(events)
                self._weigh(events)
                if events:
                    loaded.add((tenant, run_id))
        return loaded

    def with_events(self, keys: Set[RunKey], certain: Set[RunKey]) -> Set[RunKey]:
        """Those of the runs of which events may be stored, whatever is said of the `certain` ones.

        Raises:
            SinkError: the store could not be read.
        """
        if not self._rows_tell:
            return keys
        found = {
            (tenant, run_id)
            for tenant, run_ids in _by_tenant(keys - certain).items()
            for run_id in self._store.runs_with_rows(tenant, run_ids)
        }
        return found | (keys & certain)

    def has_row(self, key: RunKey) -> bool:
        """Whether the run was settled and stored before. Raises: SinkError."""
        tenant, run_id = key
        return run_id in self._store.runs_with_rows(tenant, [run_id])

    def add(self, key: RunKey, arrived: Sequence[Event]) -> tuple[dict[EventKey, Event], New]:
        """Takes events into their run; returns them, one for each identity, and what of them is new."""
        run = self.runs[key]
        known = run.events
        before, had_begun, spans = len(known), run.begun, 0
        fresh: dict[EventKey, Event] = {}
        for event in arrived:
            identity = (event.span_id, event.seq)
            if identity not in known and event.source != "log":
                spans += event.seq == 0
            known[identity] = fresh[identity] = event
            run.begun = run.begun or not event.part
        self._held += len(known) - before
        events = len(known) - (before if had_begun else 0) if run.begun else 0
        return fresh, New(spans, events, int(run.begun and not had_begun))

    # ------------------------------------------------------------------- going

    def discard(self, events: Iterable[Event]) -> None:
        """Events that are not stored after all. May be called from any thread; `drop_discarded` heeds it."""
        self._discarded.extend(events)

    def drop_discarded(self) -> None:
        while self._discarded:
            event = self._discarded.popleft()
            run = self.runs.get((event.tenant, event.run_id))
            if run is not None and run.events.pop((event.span_id, event.seq), None) is not None:
                self._held -= 1

    def drop(self, key: RunKey) -> Collection[Event]:
        """Forgets a run that is no more; returns what its events were."""
        self._whole.pop(key, None)
        run = self.runs.pop(key, None)
        if run is None:
            return ()
        self._held -= len(run.events) + run.texts
        return run.events.values()

    def derived(self, batch: int, events: Sequence[Event], waiting: Mapping[RunKey, None]) -> None:
        """Notes what a batch may still be read for: its events, and those of runs that do not wait any more."""
        settled = [event for key in self._whole.keys() - waiting for event in self._whole.pop(key)]
        self._unread.append((batch, [*events, *settled]))

    def leave(self, stored: int, waiting: Mapping[RunKey, None]) -> Iterator[Collection[Event]]:
        """Makes small what is stored, up to the batch of that number, and forgets runs until what is held is within
        bounds; gives the events of each. Those that wait to be settled, or are not stored, stay."""
        while self._unread and self._unread[0][0] <= stored:
            self._compact(self._unread.popleft()[1], waiting)
        passed = 0
        while self._held > self._max_events and passed < len(self.runs):
            key = next(iter(self.runs))
            if self.runs[key].batch > stored:
                return
            if key in waiting:
                self.runs.move_to_end(key)
                passed += 1
                continue
            run = self.runs.pop(key)
            if not run.begun:
                self._rows_tell = False
            self._held -= len(run.events) + run.texts
            yield run.events.values()

    def _compact(self, written: Sequence[Event], waiting: Mapping[RunKey, None]) -> None:
        """Lets go of what only the stored rows need, but for runs that wait: what their events read and wrote is
        looked at when they are settled."""
        let_go = written
        if waiting:
            let_go = []
            for event in written:
                key = event.tenant, event.run_id
                if key in waiting:
                    self._whole.setdefault(key, []).append(event)
                else:
                    let_go.append(event)
        self._compacting.compact(let_go)
        self._weigh(let_go)

    def _weigh(self, events: Iterable[Event]) -> None:
        """Counts the texts that are kept of these events, so that bytes bound what is held, and not a number alone."""
        for event in events:
            if event.input or event.output:
                run = self.runs.get((event.tenant, event.run_id))
                if run is not None:
                    weight = (len(event.input) + len(event.output)) // CHARACTERS
                    run.texts += weight
                    self._held += weight


def _by_tenant(keys: Iterable[RunKey]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tenant, run_id in keys:
        found.setdefault(tenant, []).append(run_id)
    return found
