"""Spans that tell the same call twice: which of them counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import islice, pairwise

from mappers.likeness import (
    SEGMENT,
    Alike,
    alike,
    apart,
    contradict,
    own_id,
    same_execution,
    same_tool,
    together,
    traits,
    traits_of_tool,
)
from mappers.model import ERROR, LLM, OK, OTHER, PROXY_SCOPE, Event
from mappers.tree import MODEL_KINDS, TOOL_KINDS, Tree

BARE_RECORD_NS = 100_000_000
"""Longest time between two records of the end of one answer."""
RECORD_DELAY_NS = 2_000_000_000
"""Longest time between the end of a call's span and the log record that tells of the same call."""
MOST_ALIKE = 64
"""Calls before and after one that are looked at to find which of those like it tells of the same call."""
MOST_ABOVE = 64
"""Spans above a call that are looked at to find whether it lies within another."""
MOST_BESIDE = 1_000
"""Executions of a tool that are looked at for one call that traffic tells."""


def find_twins(tree: Tree) -> dict[str, str]:
    """For each span that is not counted the span id of the one that counts instead.

    The rules are conventions.md §3 (2), (4) and (10): a model call directly within a model call is the same
    call, seen by the framework and by the client; so is a tool within a tool of its name or call id; of two calls
    that overlap and share the provider's response id one is a repetition; and so it is of two that lie beside each
    other, where one of them gives no id, and of two tools, if two instrumentations told them and they are alike.
    """
    outermost = tree.inherit(None, _call_below)
    twins = {}
    for event in tree.events:
        outer = outermost[event.span_id]
        if outer is not None and outer.span_id != event.span_id and _same_call(event, outer):
            twins[event.span_id] = outer.span_id
    _count_what_is_wrapped(tree, twins)
    _add_same_response(tree, twins)
    _add_alike_calls(tree, twins)
    _add_alike_tools(tree, twins)
    _add_inferred_tools(tree, twins)
    _add_bare_records(tree, twins)
    return {span_id: _counted(counts, twins) for span_id, counts in twins.items()}


def _count_what_is_wrapped(tree: Tree, twins: dict[str, str]) -> None:
    """A call in which several were answered one after the other is a wrapper around them, as where a client calls
    functions by itself and asks again: these count, and it repeats the last."""
    answered: dict[str, list[Event]] = {}
    for event in tree.events:
        if event.span_id in twins and event.kind in MODEL_KINDS and _is_answered(event):
            answered.setdefault(twins[event.span_id], []).append(event)
    if all(len(events) < 2 for events in answered.values()):
        return
    around = tree.inherit(None, _nearest_call)
    for wrapper, events in answered.items():
        within = [event for event in events if (call := around[event.span_id]) and call.span_id == wrapper]
        within.sort(key=_start)
        if len(within) < 2 or any(b.start_ns < a.end_ns for a, b in pairwise(within)):
            continue
        told = [event.response_id for event in within if event.response_id]
        if len(set(told)) < len(told):
            continue
        counted = {event.span_id for event in within}
        for span_id in [span_id for span_id, outer in twins.items() if outer == wrapper]:
            inner: str | None = span_id
            while inner is not None and inner not in counted:
                call = around.get(inner)
                inner = call.span_id if call is not None and call.span_id != wrapper else None
            if inner is not None and inner != span_id:
                twins[span_id] = inner
            elif inner is not None:
                del twins[span_id]
        twins[wrapper] = within[-1].span_id


def _is_answered(event: Event) -> bool:
    return event.status == OK and event.input_tokens is not None


def _nearest_call(parent: Event, call: Event | None) -> Event | None:
    if parent.kind == OTHER:
        return call
    return parent if parent.kind in MODEL_KINDS else None


def _counted(span_id: str, twins: Mapping[str, str]) -> str:
    """The end of a chain of twins; hostile parents may close it to a ring."""
    passed = set()
    while span_id in twins and span_id not in passed:
        passed.add(span_id)
        span_id = twins[span_id]
    return span_id


def _call_below(parent: Event, call: Event | None) -> Event | None:
    """The outermost span of the call that whatever is below `parent` may belong to. Only plumbing (OTHER) may
    stand between two spans of one call: anything else makes what is below it another call."""
    if parent.kind == OTHER:
        return call
    if parent.kind not in MODEL_KINDS and parent.kind not in TOOL_KINDS:
        return None
    return call if call is not None and _same_call(parent, call) else parent


def _same_call(inner: Event, outer: Event) -> bool:
    if inner.kind in MODEL_KINDS:
        return inner.kind == outer.kind
    if inner.kind not in TOOL_KINDS or inner.kind != outer.kind:
        return False
    if inner.handoff_to and inner.handoff_to == outer.handoff_to:
        return True
    if inner.tool_call_id and inner.tool_call_id == outer.tool_call_id:
        return True
    return same_tool(inner.tool, outer.tool)


def _add_same_response(tree: Tree, twins: dict[str, str]) -> None:
    """Overlap is asked for because a stubbed provider may give all its answers one id. Log records are made when the
    call is over."""
    newest: dict[tuple[str, str], Event] = {}
    for event in tree.events:
        if event.kind not in MODEL_KINDS or not event.response_id or event.span_id in twins:
            continue
        identity = (event.kind, event.response_id)
        other = newest.get(identity)
        if other is None or event.start_ns > other.end_ns + (
            RECORD_DELAY_NS if _is_record(event, other) else 0
        ):
            newest[identity] = event
            continue
        if other.span_id == event.span_id:
            continue
        kept, dropped = (event, other) if _knows_more(event, other) else (other, event)
        twins[dropped.span_id] = kept.span_id
        newest[identity] = kept


def _add_alike_calls(tree: Tree, twins: dict[str, str]) -> None:
    """An instrumentation that is called back, as those of LangChain are, does not make its span the current one: what
    the client tells of the same call lies beside it, and gives no id, or hears of none, where the answer is streamed.
    Each call has one such twin of each instrumentation, the most alike and nearest in time."""
    calls = [
        event
        for event in tree.events
        if event.kind in MODEL_KINDS and event.span_id not in twins and event.end_ns > event.start_ns
    ]
    nameless = [event for event in calls if not own_id(event)]
    _add_alike(tree, twins, calls, nameless, traits, _tells_the_same)


def _add_alike_tools(tree: Tree, twins: dict[str, str]) -> None:
    """Two instrumentations of one framework tell its tools beside each other."""
    tools = [
        event
        for event in tree.events
        if event.kind in TOOL_KINDS and event.span_id not in twins and event.scope != PROXY_SCOPE
    ]
    _add_alike(tree, twins, tools, tools, traits_of_tool, _is_same_execution)


def _add_alike(
    tree: Tree,
    twins: dict[str, str],
    calls: Sequence[Event],
    seeking: Sequence[Event],
    traits_of: Callable[[Event], Iterable[Hashable]],
    compare: Callable[[Event, Event], Alike | None],
) -> None:
    """Joins each of the seeking to the calls that are most like it, one of each other instrumentation."""
    if not seeking or len({event.scope for event in calls}) < 2:
        return
    sharing: dict[Hashable, list[Event]] = {}
    for event in calls:
        for trait in traits_of(event):
            sharing.setdefault((event.kind, trait), []).append(event)
    fits: dict[tuple[str, str], tuple[Alike, int, Event, Event]] = {}
    for event in seeking:
        for trait in traits_of(event):
            beside = sharing[event.kind, trait]
            place = bisect_left(beside, event.start_ns, key=_start)
            for other in beside[max(0, place - MOST_ALIKE) : place + MOST_ALIKE]:
                pair = min(event.span_id, other.span_id), max(event.span_id, other.span_id)
                if pair not in fits and (shared := compare(event, other)) is not None:
                    fits[pair] = shared, apart(event, other), event, other
    if not fits:
        return
    told = _told_by(tree, twins)
    for _, (_, _, event, other) in sorted(fits.items(), key=lambda fit: (*fit[1][:2], fit[0])):
        one, two = _counted(event.span_id, twins), _counted(other.span_id, twins)
        first, second = told[one], told[two]
        if one == two or not first.isdisjoint(second) or _is_below(tree, event, other):
            continue
        longer = (event.end_ns - event.start_ns, event.span_id) > (
            other.end_ns - other.start_ns,
            other.span_id,
        )
        kept, dropped = (one, two) if longer else (two, one)
        twins[dropped] = kept
        told[kept] = first | second


def _tells_the_same(event: Event, other: Event) -> Alike | None:
    if event.scope == other.scope or (own_id(event) and own_id(other)):
        return None
    if not together(event, other) or contradict(event, other):
        return None
    return alike(event, other)


def _is_same_execution(event: Event, other: Event) -> Alike | None:
    return same_execution(event, other) if event.scope != other.scope else None


def _told_by(tree: Tree, twins: Mapping[str, str]) -> dict[str, set[str]]:
    """The instrumentations that told of each call or tool, by the span id of the one that counts."""
    told: dict[str, set[str]] = {}
    for event in tree.events:
        if event.kind in MODEL_KINDS or event.kind in TOOL_KINDS:
            told.setdefault(_counted(event.span_id, twins), set()).add(event.scope)
    return told


def _is_below(tree: Tree, one: Event, other: Event) -> bool:
    """Whether one of the two lies within the other, with something between them that makes them two."""
    for event, outer in ((one, other), (other, one)):
        above = tree.parent(event)
        for _ in range(MOST_ABOVE):
            if above is None:
                break
            if above.span_id == outer.span_id:
                return True
            above = tree.parent(above)
    return False


def _add_inferred_tools(tree: Tree, twins: dict[str, str]) -> None:
    """The proxy tells tool calls from the results that come back: each lies somewhere within its span, and yields
    to the span of the tool itself: that of its call id, else the first of its name within it that is not taken."""
    inferred = [e for e in tree.events if e.scope == PROXY_SCOPE and e.kind in TOOL_KINDS]
    if not inferred:
        return
    by_id: dict[str, Event] = {}
    by_name: dict[tuple[str, str], list[Event]] = {}
    for event in tree.events:
        if event.kind in TOOL_KINDS and event.scope != PROXY_SCOPE and event.span_id not in twins:
            by_name.setdefault(_kind_and_name(event), []).append(event)
            if event.tool_call_id:
                by_id.setdefault(event.tool_call_id, event)
    for event in inferred:
        candidates = by_name.get(_kind_and_name(event), [])
        seen = by_id.get(event.tool_call_id) if event.tool_call_id else None
        if seen is None:
            first = bisect_left(candidates, event.start_ns, key=_start)
            near = islice(candidates, first, first + MOST_BESIDE)
            seen = next((other for other in near if _lies_within(other, event)), None)
        if seen is not None:
            twins[event.span_id] = seen.span_id
            _remove(by_name[_kind_and_name(seen)], seen)


def _add_bare_records(tree: Tree, twins: dict[str, str]) -> None:
    """An agent may log that an answer is complete twice, once without what was used: that record yields to the
    nearest one that has it."""
    answers = [e for e in tree.events if e.source == "log" and e.kind == LLM and e.span_id not in twins]
    bare = [e for e in answers if e.status == OK and not e.usage_source and e.input_bytes is None]
    if not bare or len(bare) == len(answers):
        return
    told = sorted((e for e in answers if e.usage_source and e.status == OK), key=_end)
    for event in bare:
        place = bisect_left(told, event.end_ns, key=_end)
        near = min(
            (
                other
                for other in told[max(0, place - 1) : place + 1]
                if other.request_model == event.request_model
            ),
            key=lambda other: abs(other.end_ns - event.end_ns),
            default=None,
        )
        if near is not None and abs(near.end_ns - event.end_ns) <= BARE_RECORD_NS:
            twins[event.span_id] = near.span_id
            del told[place if place < len(told) and told[place] is near else place - 1]


def _end(event: Event) -> int:
    return event.end_ns


def _start(event: Event) -> int:
    return event.start_ns


def _remove(events: list[Event], event: Event) -> None:
    """Takes an event out of some that are sorted by their start, if it is still among them."""
    place = bisect_left(events, event.start_ns, key=_start)
    while place < len(events) and events[place].start_ns == event.start_ns:
        if events[place] is event:
            del events[place]
            return
        place += 1


def _kind_and_name(event: Event) -> tuple[str, str]:
    """What tools of one name share, with or without the names of what they belong to before it."""
    return event.kind, SEGMENT.split(event.tool)[-1]


def _lies_within(event: Event, bounds: Event) -> bool:
    return (
        (not event.tool_call_id or not bounds.tool_call_id)
        and bounds.start_ns <= event.start_ns
        and event.end_ns <= bounds.end_ns
        and same_tool(event.tool, bounds.tool)
    )


def _is_record(event: Event, other: Event) -> bool:
    return event.source == "log" or other.source == "log"


def _knows_more(event: Event, other: Event) -> bool:
    if event.source != other.source:
        return other.source == "log"
    return _knowledge(event) > _knowledge(other)


def _knowledge(event: Event) -> tuple[bool, int, int]:
    """Estimates come without details; where both have none, they are the smaller ones."""
    details = (event.cache_read_tokens, event.cache_write_tokens, event.reasoning_tokens)
    known = sum(count is not None for count in details)
    return event.status != ERROR, known, (event.input_tokens or 0) + (event.output_tokens or 0)
