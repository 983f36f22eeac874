"""Calls that several traces tell of: finds them among the runs in memory, and brings into memory where more may be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from collector.deriver.callindex import CallIndex
from collector.deriver.recent import Recent
from mappers.foreign import earliest_twin_ns, is_candidate, join
from mappers.model import Event
from sinks.base import RunKey


class CallStore(Protocol):
    """The part of a store's reader by which twins are found."""

    def newest_call_ns(self) -> int:
        """End of the newest stored model call; 0 if there is none."""

    def runs_with_twins(self, tenant: str, calls: Sequence[Event]) -> Sequence[str]:
        """Ids of stored runs in which twins of these calls may be."""


class Twins:
    """Keeps what the runs in memory know of each other (`RecentRun.foreign`)."""

    def __init__(self, store: CallStore, recent: Recent) -> None:
        self._store = store
        self._recent = recent
        self._calls = CallIndex()
        self._known_from_ns: int | None = None
        """Twins that may end after this are in memory if they are there at all; None: nobody asked the store yet."""

    def load(self, events: Iterable[Event], batch: int) -> set[RunKey]:
        """Brings into memory the runs in which twins of these events may be, and returns them. Raises: SinkError."""
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
            more = self._recent.load(found - self._recent.runs.keys(), batch)
            loaded |= more
            sought = [event for event in self._recent.events_in(more) if is_candidate(event)]
        return loaded

    def join(self, events: Sequence[Event]) -> set[RunKey]:
        """Finds which calls are told in several traces, now that there are these events too; returns the runs of
        which others know something else than before."""
        runs = self._recent.runs
        calls = [event for event in events if self._calls.add(event)]
        changed: set[RunKey] = set()
        for call in calls:
            run = runs[call.tenant, call.run_id]
            if run.events.get((call.span_id, call.seq)) is not call:
                continue  # sent twice within the batch; the other one holds
            group = self._calls.group(call)
            if len(group) == 1 and call.span_id not in run.foreign:
                continue
            members = [*group, *self._former(group)]
            found = join(members) if len(members) > 1 else {}
            for member in members:
                key = member.tenant, member.run_id
                known = runs[key].foreign
                told = found.get((member.run_id, member.span_id))
                if told is None:
                    if known.pop(member.span_id, None) is not None:
                        changed.add(key)
                elif known.get(member.span_id) != told:
                    known[member.span_id] = told
                    changed.add(key)
        return changed

    def left(self, events: Collection[Event]) -> None:
        """Events of a run that has left the memory, and can be read back."""
        latest = self._calls.discard(events)
        if latest:
            self._known_from_ns = max(self._known_from_ns or 0, latest)

    def deleted(self, events: Collection[Event]) -> None:
        """Events of a run that is no more."""
        self._calls.discard(events)

    def _former(self, group: Sequence[Event]) -> list[Event]:
        """Events that were joined with one of these before and may have to be set free."""
        runs = self._recent.runs
        present = {(event.run_id, event.span_id) for event in group}
        found: dict[tuple[str, str], Event] = {}
        for event in group:
            known = runs[event.tenant, event.run_id].foreign.get(event.span_id)
            if known is None:
                continue
            others = [(twin.run_id, twin.span_id) for twin in known.twins]
            if known.counted_as:
                others.append((known.counted_in, known.counted_as))
            for run_id, span_id in others:
                run = runs.get((event.tenant, run_id))
                former = run.events.get((span_id, 0)) if run else None
                if former is not None and (run_id, span_id) not in present:
                    found[run_id, span_id] = former
        return list(found.values())
