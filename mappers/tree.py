"""The events of one run in their order and their places: what happened within what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mappers.model import AGENT, Event, Kind

T = TypeVar("T")

TOOL_KINDS = frozenset({Kind.TOOL, Kind.HANDOFF})
MODEL_KINDS = frozenset({Kind.LLM, Kind.EMBEDDING, Kind.RERANKER})


class Tree:
    """All events of one run, sorted by (start, span id, seq), but for those that are only parts of another, which
    lie beside it by the id of the span they belong to. Every walk over it takes linear time.

    Hostile parents (a span below itself, rings) end where they would begin again.

    Args:
        events: in any order, one for each identity.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.events: list[Event] = []
        self.parts: dict[str, list[Event]] = {}
        for event in sorted(events, key=lambda event: (event.start_ns, event.span_id, event.seq)):
            if event.part:
                self.parts.setdefault(event.parent_span_id, []).append(event)
            else:
                self.events.append(event)
        self._by_span: dict[str, Event] = {}
        for event in self.events:
            self._by_span.setdefault(event.span_id, event)
        self._downwards = list(self._parents_first())

    def parent(self, event: Event) -> Event | None:
        """The event that it happened in; None for roots and for those whose parent has not come."""
        return self._by_span.get(event.parent_span_id) if event.parent_span_id else None

    def inherit(self, top: T, below: Callable[[Event, T], T]) -> dict[str, T]:
        """What spans pass down, by span id: `below(parent, what the parent got)`; the topmost get `top`."""
        found: dict[str, T] = {}
        for event in self._downwards:
            parent = self.parent(event)
            given = top if parent is None else found.get(parent.span_id, top)
            found[event.span_id] = top if parent is None else below(parent, given)
        return found

    def _parents_first(self) -> Iterator[Event]:
        placed: set[str] = set()
        for event in self._by_span.values():
            above = self.parent(event)
            if above is None or above.span_id in placed:  # as nearly always, since parents begin before
                if event.span_id not in placed:
                    placed.add(event.span_id)
                    yield event
                continue
            path: list[Event] = []
            above = event
            while above is not None and above.span_id not in placed:
                placed.add(above.span_id)
                path.append(above)
                above = self.parent(above)
            yield from reversed(path)


def agent_name(event: Event) -> str:
    """What an AGENT event's agent is called; of its method `run`, after which smolagents' spans are named, the rest."""
    return event.agent or event.name.removesuffix(".run") or event.name


def agents_above(tree: Tree) -> dict[str, str]:
    """Name of the nearest AGENT above each span, by span id; "" if there is none."""
    return tree.inherit("", lambda parent, above: agent_name(parent) if parent.kind == AGENT else above)
