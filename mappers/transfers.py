"""Handoffs that no span of their own tells: a framework took the model's request before any tool ran, or the graph
went on to another agent by an edge.

Both are only believed where the agent that should receive is seen to run afterwards, and where the run has no
handoff of its own (conventions.md §4).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

from mappers.handoff import target_in_name
from mappers.model import AGENT, HANDOFF, LLM, OTHER, Event
from mappers.tree import Tree, agent_name, agents_above

REQUESTED = "llm_tool_request"
EDGE = "graph_edge"
MOST_FOLLOWING = 16
"""Turns of agents after a request among which the one that received is looked for."""
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
        told |= event.kind == HANDOFF
        if (event.tool_requests or event.operation == "goto") and (targets := _targets(event)):
            asking[event.span_id] = targets
    if told or not asking:
        return
    starts: dict[str, list[int]] = defaultdict(list)
    agents = [event for event in tree.events if event.kind == AGENT]
    for event in agents:
        starts[_folded(agent_name(event))].append(event.start_ns)
    above = agents_above(tree)
    previous = ""
    seen: set[tuple[str, str, int]] = set()
    for event in tree.events:
        if event.kind == AGENT:
            previous = agent_name(event)
        for target, source in asking.get(event.span_id, ()):
            giver = event.agent or above[event.span_id] or previous
            target = target or _next_agent(agents, event, giver)
            began = starts.get(_folded(target), [])
            following = bisect_left(began, event.end_ns if source == REQUESTED else event.start_ns)
            transfer = (giver, _folded(target), following)
            if following < len(began) and _folded(giver) != _folded(target) and transfer not in seen:
                seen.add(transfer)  # a graph tells one edge at each of its levels
                event.handoff_from, event.handoff_to, event.handoff_source = giver, target, source
                break


def _next_agent(agents: Sequence[Event], asking: Event, giver: str) -> str:
    """Who received what a model asked to hand over without saying to whom, as far as its tool's name tells: the next
    other agent; "" if none runs soon after."""
    first = bisect_left(agents, asking.end_ns, key=lambda agent: agent.start_ns)
    following = map(agent_name, islice(agents, first, first + MOST_FOLLOWING))
    return next((name for name in following if _folded(name) != _folded(giver)), "")


def _targets(event: Event) -> list[tuple[str, str]]:
    if event.kind == LLM and not event.duplicate_of:
        named = (target_in_name(request.name) for request in event.tool_requests)
        return [(target, REQUESTED) for target in named if target is not None]
    if event.kind == OTHER and event.operation == "goto" and (match := _GOTO.match(event.name)):
        return [(match[1], EDGE)]
    return []


def _folded(name: str) -> str:
    """Names as tools write them: `Billing Agent` is `billing_agent`."""
    return _WORD_BREAKS.sub("_", name.strip()).lower()
