"""One call told in two traces: instrumentations that do not set the context put their span in a trace of its own.

Two events are of one call if they share the provider's response id and overlap in time; where one of them has no id,
if they are of one time, by two instrumentations, and share the answer, the token counts, the question or the failure
(`mappers.likeness`), or at least the process; or if one is the mere end of the other, told when its stream had been
read. A log record is of one call with a span if they share the response id or, with nothing that contradicts, if they
are of one time and of one session, as a coding agent's are, or of one process and one library where the span gives no
id. Tools that two instrumentations tell are one as calls are; what the proxy tells of a tool from its result is the
execution that another trace tells, if the result is the same and the times fit. Which of them counts is decided by
what they are, not by which came first (conventions.md §3 (3)).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mappers.calls import repeats
from mappers.likeness import (
    CLOCK_NS,
    alike,
    answered_otherwise,
    apart,
    contradict,
    differ,
    own_count,
    own_id,
    same_execution,
    same_tool,
    together,
)
from mappers.model import PROXY_SCOPE, Event, Kind, Status
from mappers.tree import MODEL_KINDS
from mappers.twins import RECORD_DELAY_NS

LONGEST_PAUSE_NS = 10 * 60 * 1_000_000_000
"""Longest time from the end of a request to the word that its stream has been read."""

NOTHING_ALIKE = 6
"""Sort of evidence: nothing but process and time."""

K = TypeVar("K")
Cost = tuple[int, int]
"""(sort of evidence, best first; how far apart in ns)"""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What other traces know of one event."""

    counted_as: str = ""
    """Span id of the event of another trace that counts instead; "": this one counts."""
    counted_in: str = ""
    """That trace's run id."""
    twins: Sequence[Event] = ()
    """Events of other traces that this one stands for."""


def is_candidate(event: Event) -> bool:
    """Whether another trace may tell of it too."""
    if event.part or event.end_ns <= 0:
        return False
    if event.kind in MODEL_KINDS:
        return True
    return event.kind == Kind.TOOL and (event.tool_call_id != "" or event.result_hash != 0)


def earliest_twin_ns(event: Event) -> int:
    """A twin of this event ends at this time or later."""
    return event.start_ns - (LONGEST_PAUSE_NS if event.start_ns == event.end_ns else RECORD_DELAY_NS)


def cost(one: Event, other: Event) -> Cost | None:
    """How badly they fit as two tellings of one call; None if they can not be."""
    if one.run_id == other.run_id or one.kind != other.kind:
        return None
    if (one.tenant, one.project) != (other.tenant, other.project):
        return None
    if one.source == "log" or other.source == "log":
        return _as_record(one, other)
    if one.kind not in MODEL_KINDS:
        return _as_execution(one, other) or _as_execution(other, one) or _as_tool(one, other)
    first_id, second_id = own_id(one), own_id(other)
    if first_id and second_id:
        if first_id != second_id or not _overlap(one, other):
            return None
        if one.scope == other.scope and not _told_again(one, other):
            return None
        return 0, apart(one, other)
    same_process = one.instance == other.instance != ""
    if one.scope == other.scope:
        if not same_process or contradict(one, other):
            return None
        return _as_end(one, other) or _as_end(other, one)
    if not (one.is_root or other.is_root or PROXY_SCOPE in (one.scope, other.scope)):
        return None
    if not (same_process or _may_be_told_apart(one, other)) or contradict(one, other):
        return None
    shared = alike(one, other)
    if shared is not None and together(one, other):
        return 1 + shared, apart(one, other)
    if same_process and not answered_otherwise(one, other) and (_within(one, other) or _within(other, one)):
        return NOTHING_ALIKE, apart(one, other)
    return None


def akin(one: Event, others: Iterable[tuple[K, Event]]) -> list[tuple[K, Event]]:
    """Those of others that may tell of the same call (`cost`), each with its key."""
    if one.source == "log" or one.start_ns == one.end_ns:
        return [(key, other) for key, other in others if cost(one, other) is not None]
    scope, start_ns = one.scope, one.start_ns
    # What one instrumentation told at different times, with its length, is two calls: most that share anything are.
    return [
        (key, other)
        for key, other in others
        if (
            other.scope != scope
            or other.start_ns == start_ns
            or other.start_ns == other.end_ns
            or other.source == "log"
        )
        and cost(one, other) is not None
    ]


def join(events: Sequence[Event]) -> dict[tuple[str, str], Foreign]:
    """Which of some events are one call, by (run id, span id); those that are alone are left out.

    Best fits first; an event has one twin of each scope at most.
    """
    fits = []
    for place, one in enumerate(events):
        for other in events[place + 1 :]:
            found = cost(one, other)
            if found is not None:
                pair = sorted((one, other), key=_key)
                fits.append((found, [_key(event) for event in pair], pair))
    fits.sort(key=lambda fit: fit[:2])
    taken: set[tuple[tuple[str, str], str]] = set()
    partners: dict[tuple[str, str], list[Event]] = defaultdict(list)
    by_key = {_key(event): event for event in events}
    for _, (first, second), (one, other) in fits:
        if (first, other.scope) in taken or (second, one.scope) in taken:
            continue
        taken |= {(first, other.scope), (second, one.scope)}
        partners[first].append(other)
        partners[second].append(one)
    found_twins = {}
    for key, others in partners.items():
        rank = _rank(by_key[key])
        best = max(others, key=_rank)
        counts = rank > _rank(best)
        found_twins[key] = Foreign(
            "" if counts else best.span_id,
            "" if counts else best.run_id,
            sorted((other for other in others if _rank(other) < rank), key=_key),
        )
    return found_twins


def tries_elsewhere(events: Sequence[Event], foreign: Mapping[str, Foreign]) -> dict[str, str]:
    """Calls that the proxy saw fail and whose repetition is counted in another trace: span ids of the one that counts
    by theirs. Whoever told there of the call has told of its failure, or has it as one call with several tries."""
    found: dict[str, str] = {}
    failed: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event.scope != PROXY_SCOPE or event.kind not in MODEL_KINDS:
            continue
        place = (event.parent_span_id, event.kind)
        known = foreign.get(event.span_id)
        if known is not None and known.counted_as:
            for before in failed.pop(place, ()):
                if repeats(event, before):
                    found[before.span_id] = known.counted_as
        elif event.status == Status.ERROR:
            failed[place].append(event)
        else:
            failed.pop(place, None)
    return found


def counted_elsewhere(events: Sequence[Event], foreign: Mapping[str, Foreign]) -> str:
    """The run in which the calls of this one are counted; "" if it has done anything else.

    What the proxy tells beside its model calls it has told from them: the run's root, and tool calls.
    """
    if not foreign or any(_stands_alone(event) for event in events):
        return ""
    return next((known.counted_in for known in foreign.values() if known.counted_in), "")


def _stands_alone(event: Event) -> bool:
    if event.duplicate_of or event.kind == "OTHER":
        return False
    return event.scope != PROXY_SCOPE or event.kind in MODEL_KINDS


def _key(event: Event) -> tuple[str, str]:
    return event.run_id, event.span_id


def _rank(event: Event) -> tuple[bool, bool, bool, bool, int, tuple[str, str]]:
    """The greatest counts: what is a span, lies in a larger trace, was told by the program itself, is more than an
    end, and spans the others."""
    length = event.end_ns - event.start_ns
    own = event.scope != PROXY_SCOPE
    return event.source != "log", not event.is_root, own, length > 0, length, _key(event)


def _may_be_told_apart(one: Event, other: Event) -> bool:
    """Whether two that are not known to be of one process may tell of one call: most programs do not say which process
    they are, and the proxy is another one."""
    if PROXY_SCOPE in (one.scope, other.scope):
        return True
    return one.service == other.service and not (one.instance and other.instance)


def _as_execution(told: Event, execution: Event) -> Cost | None:
    """The proxy tells a tool call from the result that comes back; another trace has the span of the tool itself. The
    execution lies between the answer that asked for it and the request that brings its result, or before that where
    the proxy did not see who asked."""
    if told.scope != PROXY_SCOPE or execution.scope == PROXY_SCOPE:
        return None
    if not told.result_hash or told.result_hash != execution.result_hash:
        return None
    if told.tool_call_id and execution.tool_call_id and told.tool_call_id != execution.tool_call_id:
        return None
    pause = told.end_ns - execution.end_ns
    begun_ns = told.start_ns
    if told.start_ns == told.end_ns:
        if not told.args_hash or told.args_hash != execution.args_hash:
            return None
        begun_ns -= LONGEST_PAUSE_NS
    if (
        pause < -CLOCK_NS
        or execution.start_ns < begun_ns - CLOCK_NS
        or not same_tool(told.tool, execution.tool)
    ):
        return None
    return 1, abs(pause)


def _as_tool(one: Event, other: Event) -> Cost | None:
    """Two instrumentations of one framework, of which at least one put the tool into a trace of its own."""
    if one.scope == other.scope or PROXY_SCOPE in (one.scope, other.scope):
        return None
    if not (one.is_root or other.is_root):
        return None
    if one.instance == other.instance != "" or _may_be_told_apart(one, other):
        shared = same_execution(one, other)
        return (1 + shared, apart(one, other)) if shared is not None else None
    return None


def _overlap(one: Event, other: Event) -> bool:
    return one.start_ns <= other.end_ns and other.start_ns <= one.end_ns


def _within(inner: Event, outer: Event) -> bool:
    return outer.start_ns <= inner.start_ns + CLOCK_NS and inner.end_ns <= outer.end_ns + CLOCK_NS


def _told_again(one: Event, other: Event) -> bool:
    """One instrumentation told the same call twice, the second time when it had ended once more (LiteLLM, when
    streaming). What is equal to the nanosecond in all is a trace that somebody replays."""
    return (
        one.instance != ""
        and one.instance == other.instance
        and one.start_ns == other.start_ns != 0
        and one.end_ns != other.end_ns
    )


def _as_end(end: Event, begun: Event) -> Cost | None:
    """A span without length after the request's: it repeats the request and brings the answer."""
    pause = end.start_ns - begun.end_ns
    if (
        end.start_ns == end.end_ns
        and begun.end_ns > begun.start_ns
        and 0 <= pause <= LONGEST_PAUSE_NS
        and end.args_hash
        and end.args_hash == begun.args_hash
        and not own_id(begun)
        and not own_count(begun, "output_tokens")
    ):
        return 2, pause
    return None


def _as_record(one: Event, other: Event) -> Cost | None:
    """One is a log record, made about when the call ended; the other must be a span."""
    if one.source == other.source or abs(one.end_ns - other.end_ns) > RECORD_DELAY_NS:
        return None
    if own_id(one) and own_id(one) == own_id(other):
        return 0, apart(one, other)
    if contradict(one, other):
        return None
    if not one.session_id or one.session_id != other.session_id:
        record, span = (one, other) if one.source == "log" else (other, one)
        return (2, apart(one, other)) if _of_its_library(record, span) else None
    if one.kind == Kind.TOOL and (one.tool_call_id != other.tool_call_id or one.tool != other.tool):
        return None
    if differ(one, other, "output_tokens"):
        return None
    return 1, apart(one, other)


def _of_its_library(record: Event, span: Event) -> bool:
    """A record of a call by the library whose span does not give the response id, made while the call ended."""
    return (
        own_id(record) != ""
        and own_id(span) == ""
        and record.scope == span.scope
        and record.instance == span.instance != ""
        and span.start_ns <= record.end_ns
    )
