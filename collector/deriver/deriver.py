"""Runs from events: keeps recent runs in memory, reads older ones back, settles what was touched.

A run is a function of its stored events, so nothing here needs to survive: after a restart, or when a run
has left the memory, its events are read back and the result is the same.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from copy import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from collector.deriver.callindex import CallIndex
from collector.deriver.compacting import Compacting
from collector.deriver.pace import Cost, Pace
from collector.loops import WarningKey, Watch
from collector.telemetry.telemetry import about
from mappers.assemble import LIST_PRICES, assemble, outlined
from mappers.filling import Price
from mappers.foreign import Foreign, earliest_twin_ns, is_candidate, join
from mappers.model import Event, Run, Warning
from sinks.base import RunKey, SinkError

log = logging.getLogger(__name__)

Tell = Callable[[Sequence[Warning], Sequence[Run], Mapping[WarningKey, Warning]], None]
"""Is told of warnings that were stored, with the runs that they may be in and what was said of them before."""
EventKey = tuple[str, int]
"""(span_id, seq)"""

CHARACTERS = 1_000
"""Of texts that weigh as much as an event without: that takes 1.7 kB. Roots, parts and log records keep theirs."""


class EventStore(Protocol):
    """The part of a store's reader that the deriver needs."""

    def events_of(self, tenant: str, run_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """Stored events by run id; a run without any is absent."""

    def runs_with_rows(self, tenant: str, run_ids: Sequence[str]) -> Set[str]:
        """Those of these runs that were settled and stored."""

    def newest_call_ns(self) -> int:
        """End of the newest stored model call; 0 if there is none."""

    def runs_with_twins(self, tenant: str, calls: Sequence[Event]) -> Sequence[str]:
        """Ids of stored runs in which twins of these calls may be."""


class New(NamedTuple):
    """What of a run was not known before."""

    spans: int = 0
    events: int = 0
    runs: int = 0


@dataclass(slots=True)
class Derived:
    """What one batch of events led to."""

    runs: list[Run] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    """The batch's events, settled, one for each identity."""
    resettled: list[Event] = field(default_factory=list)
    """Events of earlier batches whose of-the-run fields changed; their rows must be written again. Like those of
    `events` that have such fields, they are copies: later batches settle them anew while these are written."""
    warnings: list[Warning] = field(default_factory=list)
    """New, changed and retracted ones."""
    before: dict[WarningKey, Warning] = field(default_factory=dict)
    """What was said of these before."""
    new: dict[RunKey, New] = field(default_factory=dict)
    """By run."""
    outdated: list[Event] = field(default_factory=list)
    """Events of the batch of which a later version was there before them."""

    @property
    def new_spans(self) -> int:
        return sum(new.spans for new in self.new.values())

    @property
    def new_events(self) -> int:
        return sum(new.events for new in self.new.values())

    @property
    def new_runs(self) -> int:
        return sum(new.runs for new in self.new.values())


@dataclass(slots=True)
class _RunState:
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


class Deriver:
    """Settles the runs that a batch of events touches. Used from one thread.

    Args:
        store: where events of runs that are not in memory are read.
        max_events: events kept in memory; least recently touched runs leave first.
        watch: looks for loops in what was settled.
        price: what calls cost of which something was filled in.
        pace: which of the touched runs wait until they are settled; None: none does.
        rows_tell: nothing is stored of a run that has no row, but of those that are owed. Then the events of new runs
            are not looked for among all that are stored, which takes the longer the more there are.
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
        self._store = store
        self._rows_tell = rows_tell
        self._price = price
        self._pace = pace
        self._owed: dict[RunKey, None] = {}
        """Runs that are to be settled; those that are not in memory are read back."""
        self._next_due_s = float("inf")
        self._unfinished: Derived | None = None
        """What a batch had led to when the store failed, and what deriving it once more would not find again."""
        self._watch = watch
        self._max_events = max_events
        self._states: OrderedDict[RunKey, _RunState] = OrderedDict()
        self._held = 0
        self._discarded: deque[Event] = deque()
        self._deleted: deque[RunKey] = deque()
        self._unread: deque[tuple[int, Sequence[Event]]] = deque()
        """Events of batches that may still be read for writing, by the batch's number."""
        self._whole: dict[RunKey, list[Event]] = {}
        """Stored events of runs that wait, with their texts."""
        self._compacting = Compacting()
        self._calls = CallIndex()
        self._known_from_ns: int | None = None
        """Twins that may end after this are in memory if they are there at all; None: nobody asked the store yet."""

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
        self._drop_discarded()
        self._drop_deleted()
        touched: dict[RunKey, list[Event]] = {key: [] for key in self._owed if key not in self._states}
        touched |= {key: [] for key in again}
        for event in events:
            touched.setdefault((event.tenant, event.run_id), []).append(event)
        absent = touched.keys() - self._states.keys()
        loaded = self._load(absent, batch, sought=self._with_events(absent, {*self._owed, *again}))
        unknown = absent - loaded
        loaded |= self._load_twins([*events, *self._events_in(loaded)], batch)
        if overtaken:
            touched = {
                key: self._current(self._states[key], arrived, derived) for key, arrived in touched.items()
            }
            events = [event for arrived in touched.values() for event in arrived]
        fresh = {key: self._add(self._states[key], arrived, derived) for key, arrived in touched.items()}
        joined = self._join([*events, *self._events_in(loaded.union(again))])
        for key in again:
            self._states[key].cost = Cost()
        for key in dict.fromkeys([*touched, *joined]):
            state = self._states[key]
            state.batch = batch
            self._states.move_to_end(key)
            if state.begun:
                self._owed[key] = None
            else:  # nothing but parts, or nothing at all
                self._owed.pop(key, None)
        self._settle_due(fresh, unknown, derived, pressed=pressed)
        fresh_events = [event for arrived in fresh.values() for event in arrived.values()]
        derived.events += map(_as_settled, fresh_events)
        settled = [event for key in self._whole.keys() - self._owed for event in self._whole.pop(key)]
        self._unread.append((batch, [*fresh_events, *settled]))
        self._forget(stored)

    def rederive(self, keys: Sequence[RunKey]) -> Derived:
        """Settles runs from what is stored of them alone, whoever stored it. For a deriver that does nothing else
        before or after: it keeps what it read."""
        derived = Derived()
        loaded = self._load(keys, 0)
        loaded |= self._load_twins(self._events_in(loaded), 0)
        joined = self._join(self._events_in(loaded))
        assembled: list[tuple[Run, Sequence[Event]]] = []
        for key in dict.fromkeys([*keys, *joined]):
            if self._states[key].begun:
                self._settle(key, self._states[key], {}, derived, assembled)
        if self._watch is not None:
            self._look_for_loops(self._watch, assembled, set(), derived)
        return derived

    def discard(self, events: Iterable[Event]) -> None:
        """Events that are not stored after all. May be called from any thread; it holds from the next batch on."""
        self._discarded.extend(events)

    def _drop_discarded(self) -> None:
        while self._discarded:
            event = self._discarded.popleft()
            state = self._states.get((event.tenant, event.run_id))
            if state is not None and state.events.pop((event.span_id, event.seq), None) is not None:
                self._held -= 1

    def forget(self, keys: Iterable[RunKey]) -> None:
        """Runs that are no more. May be called from any thread; it holds from the next batch on."""
        self._deleted.extend(keys)

    def _drop_deleted(self) -> None:
        while self._deleted:
            key = self._deleted.popleft()
            self._owed.pop(key, None)
            self._whole.pop(key, None)
            state = self._states.pop(key, None)
            if state is not None:
                self._held -= len(state.events) + state.texts
                self._calls.discard(state.events.values())

    def _settle_due(
        self,
        fresh: Mapping[RunKey, Mapping[EventKey, Event]],
        unknown: set[RunKey],
        derived: Derived,
        *,
        pressed: bool,
    ) -> None:
        """Settles the runs that need not wait, and looks for loops in them."""
        pace = self._pace
        if pace is None or self._held > 2 * self._max_events:
            due = list(self._owed)
        else:
            due = pace.due({key: self._states[key].cost for key in self._owed}, pressed=pressed)
        began_s = pace.now_s() if pace is not None else 0.0
        assembled: list[tuple[Run, Sequence[Event]]] = []
        for key in due:
            self._settle(key, self._states[key], fresh.get(key, {}), derived, assembled)
        if self._watch is not None:
            self._look_for_loops(self._watch, assembled, unknown, derived)
        for key in due:
            del self._owed[key]
        if pace is None:
            return
        ended_s = pace.now_s()
        each_s = (ended_s - began_s) / max(1, sum([len(self._states[key].events) for key in due]))
        for key in due:
            state = self._states[key]
            state.cost = Cost(ended_s, each_s * len(state.events))
        self._next_due_s = pace.next_due_s({key: self._states[key].cost for key in self._owed})

    def _settle(
        self,
        key: RunKey,
        state: _RunState,
        fresh: Mapping[EventKey, Event],
        derived: Derived,
        assembled: list[tuple[Run, Sequence[Event]]],
    ) -> None:
        events = list(state.events.values())
        try:
            assembly = assemble(events, state.foreign, self._price, compared=len(fresh) < len(events))
        except Exception:  # a run that we can not make sense of must not keep the others waiting
            log.exception("a run can not be assembled; its events are stored", extra=about(*key))
            # It has a row all the same, so that its events are found when more of it comes.
            if state.is_outlined or not (state.is_assembled or self._has_row(key)):
                state.is_outlined = True
                derived.runs.append(outlined(state.events.values()))
            return
        state.is_assembled = True
        derived.runs.append(assembly.run)
        assembled.append((assembly.run, events))
        derived.resettled += [
            copy(event) for event in assembly.changed if fresh.get((event.span_id, event.seq)) is not event
        ]

    def _current(self, state: _RunState, arrived: Sequence[Event], derived: Derived) -> list[Event]:
        """Those of the events that are no older versions of what is known."""
        current = []
        for event in arrived:
            known = state.events.get((event.span_id, event.seq))
            if known is not None and event.end_ns < known.end_ns:
                derived.outdated.append(event)
            else:
                current.append(event)
        return current

    def _add(self, state: _RunState, arrived: Sequence[Event], derived: Derived) -> dict[EventKey, Event]:
        """Takes events into their run and counts what is new; returns them, one for each identity."""
        known = state.events
        before, had_begun, spans = len(known), state.begun, 0
        fresh: dict[EventKey, Event] = {}
        for event in arrived:
            identity = (event.span_id, event.seq)
            if identity not in known and event.source != "log":
                spans += event.seq == 0
            known[identity] = fresh[identity] = event
            state.begun = state.begun or not event.part
        self._held += len(known) - before
        if arrived:
            events = len(known) - (before if had_begun else 0) if state.begun else 0
            key = arrived[0].tenant, arrived[0].run_id
            counted = derived.new.get(key, New())  # before the store failed
            new_runs = int(state.begun and not had_begun)
            derived.new[key] = New(counted.spans + spans, counted.events + events, counted.runs + new_runs)
        return fresh

    def _look_for_loops(
        self,
        watch: Watch,
        assembled: Sequence[tuple[Run, Sequence[Event]]],
        new: set[RunKey],
        derived: Derived,
    ) -> None:
        try:
            watched = watch.watch(assembled, new, self._at_hand)
        except SinkError:
            raise
        except Exception:  # runs must be seen even if what is wrong with them can not
            log.exception("loops can not be looked for in a batch; its runs are stored")
            return
        derived.warnings, derived.before = watched.warnings, watched.before
        derived.runs += watched.runs

    def _with_events(self, keys: Set[RunKey], certain: Set[RunKey]) -> Set[RunKey]:
        """Those of the runs of which events may be stored, whatever is said of the `certain` ones."""
        if not self._rows_tell:
            return keys
        found = {
            (tenant, run_id)
            for tenant, run_ids in _by_tenant(keys - certain).items()
            for run_id in self._store.runs_with_rows(tenant, run_ids)
        }
        return found | (keys & certain)

    def _load(self, keys: Iterable[RunKey], batch: int, sought: Set[RunKey] | None = None) -> set[RunKey]:
        """Reads runs back that are not in memory; a new one is empty, and so is one that is not `sought`."""
        loaded = set()
        for tenant, run_ids in _by_tenant(keys).items():
            stored = run_ids if sought is None else [one for one in run_ids if (tenant, one) in sought]
            found = self._store.events_of(tenant, stored) if stored else {}
            for run_id in run_ids:
                events = found.get(run_id, ())
                self._states[tenant, run_id] = _RunState(
                    {(event.span_id, event.seq): event for event in events},
                    batch,
                    begun=not all(event.part for event in events),
                )
                self._held += len(events)
                self._weigh(events)
                if events:
                    loaded.add((tenant, run_id))
        return loaded

    def _has_row(self, key: RunKey) -> bool:
        tenant, run_id = key
        return run_id in self._store.runs_with_rows(tenant, [run_id])

    def _at_hand(self, key: RunKey) -> Sequence[Event]:
        state = self._states.get(key)
        return list(state.events.values()) if state is not None else ()

    def _events_in(self, keys: Iterable[RunKey]) -> list[Event]:
        return [event for key in keys for event in self._states[key].events.values()]

    # ------------------------------------------------------------------- twins in other traces

    def _load_twins(self, events: Iterable[Event], batch: int) -> set[RunKey]:
        """Brings into memory the runs in which twins of these events may be."""
        loaded: set[RunKey] = set()
        sought = [event for event in events if is_candidate(event)]
        while sought:
            if self._known_from_ns is None:
                self._known_from_ns = self._store.newest_call_ns()
            by_tenant: dict[str, list[Event]] = {}
            for event in sought:
                if earliest_twin_ns(event) <= self._known_from_ns:
                    by_tenant.setdefault(event.tenant, []).append(event)
            found = {
                (tenant, run_id)
                for tenant, calls in by_tenant.items()
                for run_id in self._store.runs_with_twins(tenant, calls)
            }
            more = self._load(found - self._states.keys(), batch)
            loaded |= more
            sought = [event for event in self._events_in(more) if is_candidate(event)]
        return loaded

    def _join(self, events: Sequence[Event]) -> set[RunKey]:
        """Finds which calls are told in several traces, now that there are these events too; returns the runs of
        which others know something else than before."""
        calls = [event for event in events if self._calls.add(event)]
        changed: set[RunKey] = set()
        for call in calls:
            state = self._states[call.tenant, call.run_id]
            if state.events.get((call.span_id, call.seq)) is not call:
                continue  # sent twice within the batch; the other one holds
            group = self._calls.group(call)
            if len(group) == 1 and call.span_id not in state.foreign:
                continue
            members = [*group, *self._former(group)]
            found = join(members) if len(members) > 1 else {}
            for member in members:
                key = member.tenant, member.run_id
                known = self._states[key].foreign
                told = found.get((member.run_id, member.span_id))
                if told is None:
                    if known.pop(member.span_id, None) is not None:
                        changed.add(key)
                elif known.get(member.span_id) != told:
                    known[member.span_id] = told
                    changed.add(key)
        return changed

    def _former(self, group: Sequence[Event]) -> list[Event]:
        """Events that were joined with one of these before and may have to be set free."""
        present = {(event.run_id, event.span_id) for event in group}
        found: dict[tuple[str, str], Event] = {}
        for event in group:
            known = self._states[event.tenant, event.run_id].foreign.get(event.span_id)
            if known is None:
                continue
            others = [(twin.run_id, twin.span_id) for twin in known.twins]
            if known.counted_as:
                others.append((known.counted_in, known.counted_as))
            for run_id, span_id in others:
                state = self._states.get((event.tenant, run_id))
                former = state.events.get((span_id, 0)) if state else None
                if former is not None and (run_id, span_id) not in present:
                    found[run_id, span_id] = former
        return list(found.values())

    def _compact(self, written: Sequence[Event]) -> None:
        """Lets go of what only the stored rows need, but for runs that wait: what their events read and wrote is
        looked at when they are settled."""
        let_go = written
        if self._owed:
            let_go = []
            for event in written:
                key = event.tenant, event.run_id
                if key in self._owed:
                    self._whole.setdefault(key, []).append(event)
                else:
                    let_go.append(event)
        self._compacting.compact(let_go)
        self._weigh(let_go)

    def _weigh(self, events: Iterable[Event]) -> None:
        """Counts the texts that are kept of these events, so that bytes bound what is held, and not a number alone."""
        for event in events:
            if event.input or event.output:
                state = self._states.get((event.tenant, event.run_id))
                if state is not None:
                    weight = (len(event.input) + len(event.output)) // CHARACTERS
                    state.texts += weight
                    self._held += weight

    def _forget(self, stored: int) -> None:
        while self._unread and self._unread[0][0] <= stored:
            self._compact(self._unread.popleft()[1])
        passed = 0
        while self._held > self._max_events and passed < len(self._states):
            key = next(iter(self._states))
            if self._states[key].batch > stored:
                return
            if key in self._owed:
                self._states.move_to_end(key)
                passed += 1
                continue
            state = self._states.pop(key)
            events = state.events
            if not state.begun:
                self._rows_tell = False
            self._held -= len(events) + state.texts
            latest = self._calls.discard(events.values())
            if latest:
                self._known_from_ns = max(self._known_from_ns or 0, latest)


def _by_tenant(keys: Iterable[RunKey]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tenant, run_id in keys:
        found.setdefault(tenant, []).append(run_id)
    return found


def _as_settled(event: Event) -> Event:
    return copy(event) if event.filled or event.handoff_source else event
