"""Recent model calls by what twins in other traces share with them: the response id, or process and time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from mappers.foreign import cost, is_candidate, own_id
from mappers.model import Event
from mappers.tree import MODEL_KINDS

SPAN_NS = 1 << 30
"""Calls are kept by the seconds (1.07 s) in which they ran."""
MOST_SPANS = 32
"""A call that takes longer is found by its first half minute: twins begin together."""
CROWD = 64
"""Where more calls than this share a place, neither time nor a repeated id tells which two are one."""

CallKey = tuple[str, str, str]
"""(tenant, run id, span id)"""


@dataclass(slots=True)
class _Entry:
    """An event's places, by what it was when it came: later its run fills in what others know."""

    is_record: bool
    ended: int
    """In which second."""
    kept: list[tuple[Hashable, ...]] = field(default_factory=list)
    """Where it is kept."""
    sought: list[tuple[Hashable, ...]] = field(default_factory=list)
    """Where its twins would be."""
    around: list[tuple[Hashable, ...]] = field(default_factory=list)
    """And, in the seconds around its end, records for a span and spans for a record."""


class CallIndex:
    """Holds the calls of the runs that are in memory. Looking one up takes time for those that share its places,
    a bounded number."""

    def __init__(self) -> None:
        self._places: dict[Hashable, dict[CallKey, Event]] = {}
        self._entries: dict[CallKey, _Entry] = {}
        self._records = 0
        """Log records among the events. Mostly there are none, and no span has to look for one."""

    def add(self, event: Event) -> bool:
        """Takes in an event, or its newest state. Returns whether it may have twins at all."""
        key = event.tenant, event.run_id, event.span_id
        if key in self._entries:
            self._drop(key)
        if not is_candidate(event):
            return False
        entry = self._entries[key] = _entry(event)
        places = self._places
        for place in entry.kept:
            beside = places.get(place)
            if beside is None:
                places[place] = {key: event}
            else:
                beside[key] = event
        self._records += entry.is_record
        return True

    def discard(self, events: Iterable[Event]) -> int:
        """Forgets events; returns the latest end among them in ns, 0 if none was kept."""
        latest = 0
        for event in events:
            key = event.tenant, event.run_id, event.span_id
            if key in self._entries:
                self._drop(key)
                latest = max(latest, event.end_ns)
        return latest

    def group(self, event: Event) -> list[Event]:
        """The events that may be tellings of one call together with this one, itself included."""
        found = {(event.tenant, event.run_id, event.span_id): event}
        left = [event]
        while left and len(found) <= CROWD:
            one = left.pop()
            for key, other in self._beside(one):
                if key not in found and cost(one, other) is not None:
                    found[key] = other
                    left.append(other)
        return list(found.values()) if len(found) <= CROWD else [event]

    def _beside(self, event: Event) -> Iterator[tuple[CallKey, Event]]:
        entry = self._entries.get((event.tenant, event.run_id, event.span_id))
        if entry is None:
            return
        sought = entry.sought
        if entry.around and (entry.is_record or self._records):
            # The delay between a span and its record is at most two of these seconds.
            sought = sought + [
                (*place, entry.ended + late) for place in entry.around for late in range(-2, 3)
            ]
        for place in sought:
            others = self._places.get(place)
            if others is not None and len(others) <= CROWD:
                yield from others.items()

    def _drop(self, key: CallKey) -> None:
        entry = self._entries.pop(key)
        self._records -= entry.is_record
        for place in entry.kept:
            others = self._places[place]
            others.pop(key, None)
            if not others:
                del self._places[place]


def _entry(event: Event) -> _Entry:
    tenant, project, instance = event.tenant, event.project, event.instance
    response_id = own_id(event)
    entry = _Entry(event.source == "log", event.end_ns // SPAN_NS)
    kept, sought = entry.kept, entry.sought
    if response_id:
        place = tenant, project, "id", response_id
        kept.append(place)
        sought.append(place)
    if event.session_id:
        session = tenant, project, "session", event.session_id
        kept.append((*session, entry.is_record, entry.ended))
        entry.around.append((*session, not entry.is_record))
    if not instance or event.kind not in MODEL_KINDS:
        return entry
    first = event.start_ns // SPAN_NS
    last = min(entry.ended, first + MOST_SPANS)
    if entry.is_record:
        if response_id:
            kept.append((tenant, project, instance, "record", last))
            sought += [(tenant, project, instance, False, last - late) for late in range(3)]
        return entry
    if not response_id:
        entry.around.append((tenant, project, instance, "record"))
    for second in range(first, last + 1):
        kept.append((tenant, project, instance, bool(response_id), second))
        sought.append((tenant, project, instance, False, second))
        if not response_id:
            sought.append((tenant, project, instance, True, second))
    if event.args_hash:
        if event.start_ns == event.end_ns:
            kept.append((tenant, project, instance, "end", event.args_hash))
            sought.append((tenant, project, instance, "begun", event.args_hash))
        elif not response_id:
            kept.append((tenant, project, instance, "begun", event.args_hash))
            sought.append((tenant, project, instance, "end", event.args_hash))
    return entry
