"""Recent model calls by what twins in other traces share with them: the response id, or process and time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

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


class CallIndex:
    """Holds the calls of the runs that are in memory. Looking one up takes time for those that share its places,
    a bounded number."""

    def __init__(self) -> None:
        self._places: dict[Hashable, dict[CallKey, Event]] = {}
        self._kept: dict[CallKey, tuple[list[Hashable], list[Hashable]]] = {}

    def add(self, event: Event) -> bool:
        """Takes in an event, or its newest state. Returns whether it may have twins at all."""
        key = event.tenant, event.run_id, event.span_id
        self._drop(key)
        if not is_candidate(event):
            return False
        kept, sought = _places(event)
        for place in kept:
            self._places.setdefault(place, {})[key] = event
        self._kept[key] = kept, sought
        return True

    def discard(self, events: Iterable[Event]) -> int:
        """Forgets events; returns the latest end among them in ns, 0 if none was kept."""
        latest = 0
        for event in events:
            if self._drop((event.tenant, event.run_id, event.span_id)):
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
        kept = self._kept.get((event.tenant, event.run_id, event.span_id))
        for place in kept[1] if kept else ():
            others = self._places.get(place)
            if others is not None and 0 < len(others) <= CROWD:
                yield from others.items()

    def _drop(self, key: CallKey) -> bool:
        kept = self._kept.pop(key, None)
        if kept is None:
            return False
        for place in kept[0]:
            others = self._places.get(place)
            if others is not None:
                others.pop(key, None)
                if not others:
                    del self._places[place]
        return True


def _places(event: Event) -> tuple[list[Hashable], list[Hashable]]:
    """Where an event is kept, and where its twins would be."""
    where = event.tenant, event.project
    response_id = own_id(event)
    kept: list[Hashable] = []
    sought: list[Hashable] = []
    if response_id:
        place = (*where, "id", response_id)
        kept.append(place)
        sought.append(place)
    if event.session_id:
        ended = event.end_ns // SPAN_NS
        told = event.source == "log"
        kept.append((*where, "session", event.session_id, told, ended))
        # The delay between a span and its record is at most two of these seconds.
        sought += [(*where, "session", event.session_id, not told, ended + late) for late in range(-2, 3)]
    if not event.instance or event.kind not in MODEL_KINDS:
        return kept, sought
    first = event.start_ns // SPAN_NS
    last = min(event.end_ns // SPAN_NS, first + MOST_SPANS)
    process = (*where, event.instance)
    if event.source == "log":
        if response_id:
            kept.append((*process, "record", last))
            sought += [(*process, False, last - late) for late in range(3)]
        return kept, sought
    if not response_id:
        ended = event.end_ns // SPAN_NS
        sought += [(*process, "record", ended + late) for late in range(-2, 3)]
    for second in range(first, last + 1):
        kept.append((*process, bool(response_id), second))
        sought.append((*process, False, second))
        if not response_id:
            sought.append((*process, True, second))
    if event.args_hash:
        if event.start_ns == event.end_ns:
            kept.append((*process, "end", event.args_hash))
            sought.append((*process, "begun", event.args_hash))
        elif not response_id:
            kept.append((*process, "begun", event.args_hash))
            sought.append((*process, "end", event.args_hash))
    return kept, sought
