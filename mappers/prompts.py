"""What a model call read, held against what the call before of the same agent read and wrote: what was added to the
conversation since, and what was taken out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mappers.compare import common
from mappers.conversation import message_key
from mappers.messages import Message
from mappers.model import Kind
from mappers.outline import Node


class Change(StrEnum):
    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Changed:
    """A message, and whether both calls, only the later or only the earlier one had it."""

    change: Change
    message: Message


def changed(before: Sequence[Message], now: Sequence[Message]) -> list[Changed]:
    """All messages of both in order, those of the longest sequence that both share once."""
    found: list[Changed] = []
    at_before = at_now = 0
    keys = [[message_key(message) for message in messages] for messages in (before, now)]
    for next_before, next_now in [*common(*keys), (len(before), len(now))]:
        found += (Changed(Change.REMOVED, message) for message in before[at_before:next_before])
        found += (Changed(Change.ADDED, message) for message in now[at_now:next_now])
        found += (Changed(Change.SAME, message) for message in now[next_now : next_now + 1])
        at_before, at_now = next_before + 1, next_now + 1
    return found


def call_before(nodes: Sequence[Node], node_id: str) -> Node | None:
    """The last model call before one, of the same turn of its agent, else of an agent of that name; None if it is the
    first, or no model call.

    Args:
        nodes: of the run, by time.
    """
    place = next((place for place, node in enumerate(nodes) if node.id == node_id), None)
    if place is None or nodes[place].kind != Kind.LLM:
        return None
    by_span = {node.span_id: node for node in reversed(nodes)}
    span, name = _agent(nodes[place], by_span)
    of_same_name: Node | None = None
    for node in reversed(nodes[:place]):
        if node.kind != Kind.LLM or node.duplicate_of or node.is_setup:
            continue
        its_span, its_name = _agent(node, by_span)
        if its_name == name:
            if its_span == span:
                return node
            of_same_name = of_same_name or node
    return of_same_name


def _agent(node: Node, by_span: dict[str, Node]) -> tuple[str, str]:
    """(span id, name) of the agent that makes a call; "" where there is none."""
    name = node.agent
    seen: set[str] = set()
    above = by_span.get(node.parent_span_id)
    while above is not None and above.span_id not in seen:
        if above.kind == Kind.AGENT:
            return above.span_id, name or above.agent or above.name
        seen.add(above.span_id)
        above = by_span.get(above.parent_span_id)
    return "", name
