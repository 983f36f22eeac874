"""Handoffs that no span of their own tells: a framework took the model's request before any tool ran, or the graph
went on to another agent by an edge.

Both are only believed where the agent that should receive is seen to run afterwards, and where the run has no
handoff of its own (conventions.md §4).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict

from mappers.handoff import target_in_name
from mappers.model import Event, Kind
from mappers.tree import Tree, agent_name, agents_above

REQUESTED = "llm_tool_request"
EDGE = "graph_edge"
UNSEEN = frozenset({REQUESTED, EDGE})

_GOTO = re.compile(r"goto (.+)$")
_WORD_BREAKS = re.compile(r"[\s_-]+")


def settle_transfers(tree: Tree) -> None:
    """Fills `handoff_*` of the model calls and graph steps that hand over, and of no others."""
    asking: dict[str, list[tuple[str, str]]] = {}
    told = False
    for event in tree.events:
        if event.handoff_source in UNSEEN:
            event.handoff_from = event.handoff_to = event.handoff_source = ""
        told |= event.kind == Kind.HANDOFF
        if targets := _targets(event):
            asking[event.span_id] = targets
    if told or not asking:
        return
    starts: dict[str, list[int]] = defaultdict(list)
    for event in tree.events:
        if event.kind == Kind.AGENT:
            starts[_folded(agent_name(event))].append(event.start_ns)
    above = agents_above(tree)
    previous = ""
    seen: set[tuple[str, str, int]] = set()
    for event in tree.events:
        if event.kind == Kind.AGENT:
            previous = agent_name(event)
        for target, source in asking.get(event.span_id, ()):
            giver = event.agent or above[event.span_id] or previous
            began = starts.get(_folded(target), [])
            following = bisect_left(began, event.end_ns if source == REQUESTED else event.start_ns)
            transfer = (giver, _folded(target), following)
            if following < len(began) and _folded(giver) != _folded(target) and transfer not in seen:
                seen.add(transfer)  # a graph tells one edge at each of its levels
                event.handoff_from, event.handoff_to, event.handoff_source = giver, target, source
                break


def _targets(event: Event) -> list[tuple[str, str]]:
    if event.kind == Kind.LLM and not event.duplicate_of:
        named = (target_in_name(request.name) for request in event.tool_requests)
        return [(target, REQUESTED) for target in named if target]
    if event.kind == Kind.OTHER and event.operation == "goto" and (match := _GOTO.match(event.name)):
        return [(match[1], EDGE)]
    return []


def _folded(name: str) -> str:
    """Names as tools write them: `Billing Agent` is `billing_agent`."""
    return _WORD_BREAKS.sub("_", name.strip()).lower()
