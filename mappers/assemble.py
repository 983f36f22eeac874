"""From the events of a run to the run. Pure, and the same for every order in which the events came."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mappers.calls import Call, calls_of, repeated
from mappers.cost import Prices
from mappers.filling import (
    FROM_LOG_TWINS,
    FROM_TWINS,
    Price,
    fill,
    fill_cost,
    fill_from_records,
    fill_outcome,
    take_out,
)
from mappers.foreign import Foreign, counted_elsewhere, tries_elsewhere
from mappers.handoff import target_in_name
from mappers.model import (
    AGENT,
    EMBEDDING,
    ERROR,
    HANDOFF,
    LLM,
    OK,
    OTHER,
    SESSION_END,
    TOOL,
    Counts,
    Event,
    Run,
    RunStatus,
    Status,
    Usage,
)
from mappers.transfers import UNSEEN, settle_transfers
from mappers.tree import MODEL_KINDS, Tree, agent_name, agents_above
from mappers.twins import find_twins

NOTHING_FOREIGN: Mapping[str, Foreign] = MappingProxyType({})
LIST_PRICES: Price = Prices().price
INCOMPLETE_AFTER_NS = 5 * 60 * 1_000_000_000
"""A run whose root never came is given up this long after its newest end (design.md §3)."""


@dataclass(frozen=True, slots=True)
class Assembly:
    run: Run
    changed: list[Event]
    """Events whose fields "of the run" are not what they were before; none if that was not asked."""


def assemble(
    events: Sequence[Event],
    foreign: Mapping[str, Foreign] = NOTHING_FOREIGN,
    price: Price = LIST_PRICES,
    *,
    compared: bool = True,
) -> Assembly:
    """Settles the run that the events belong to, and in place the fields of the events that only the run can
    tell (`duplicate_of`, `handoff_*`, and what is `filled` in).

    Takes linear time after sorting.

    Args:
        events: at least one, all of one run, one for each (span id, seq), in any order.
        foreign: what other traces know of its events, by span id.
        price: what calls cost of which something was filled in; as for the `Normalizer` that read them.
        compared: whether it matters which events changed. If all of them are new, it does not.

    Raises:
        ValueError: there is no event, or nothing but parts of others.
    """
    tree = Tree(events)
    if not tree.events:
        raise ValueError("a run has at least one event that is not a part of another")
    before = [_of_the_run(event) for event in tree.events] if compared else ()
    _forget_guesses(tree)
    take_out(tree.events, price)
    fill_from_records(tree)
    _settle_twins(tree, foreign)
    _settle_costs(tree, foreign, price)
    _settle_handoffs(tree)
    run = _identify(tree)
    calls = calls_of(tree)
    _sum_calls(run, calls)
    _count(run, tree, calls)
    _collect(run, tree, calls)
    run.duplicate_of = counted_elsewhere(tree.events, foreign)
    changed = [event for event, was in zip(tree.events, before, strict=compared) if _of_the_run(event) != was]
    return Assembly(run, changed)


def outlined(events: Iterable[Event]) -> Run:
    """A run that can not be assembled, as far as its root and its times tell of it: it can be found, and nothing is
    summed.

    Args:
        events: as for `assemble`.
    """
    own = sorted(
        [event for event in events if not event.part], key=lambda event: (event.start_ns, event.span_id)
    )
    root = next((event for event in own if event.is_root), None)
    leading = root or own[0]
    run = Run(
        run_id=leading.run_id,
        tenant=leading.tenant,
        project=leading.project,
        name=leading.name,
        has_root=root is not None,
        start_ns=own[0].start_ns,
        end_ns=max(max(event.end_ns for event in own), 0),
        counts=Counts(spans=len({event.span_id for event in own if event.source != "log"}), events=len(own)),
    )
    _end(run, root)
    return run


def settle(run: Run, now_ns: int) -> RunStatus:
    """The run's status at a time: without a root it is `incomplete` once its newest end is 5 minutes old."""
    if not run.has_root and now_ns - run.end_ns > INCOMPLETE_AFTER_NS:
        return RunStatus.INCOMPLETE
    return RunStatus(run.status)


def _of_the_run(event: Event) -> tuple[Any, ...]:
    handoff = event.handoff_from, event.handoff_to, event.handoff_source, event.handoff_told
    settled = event.duplicate_of, handoff
    if not event.filled:
        return settled
    return *settled, *((name, _comparable(getattr(event, name))) for name in event.filled)


def _comparable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# --------------------------------------------------------------------------- what only the run can tell


def _forget_guesses(tree: Tree) -> None:
    """What an earlier round guessed from fewer events must not count as known now."""
    for event in tree.events:
        if event.handoff_source == "agent_sequence":
            by_tool = target_in_name(event.tool) is not None
            told = event.handoff_told or ("tool_span" if by_tool else "handoff_span")
            event.handoff_to, event.handoff_source, event.handoff_told = "", told, ""


def _settle_twins(tree: Tree, foreign: Mapping[str, Foreign]) -> None:
    twins = find_twins(tree)
    if foreign:
        for event in tree.events:
            known = foreign.get(event.span_id)
            for twin in known.twins if known and event.kind in MODEL_KINDS else ():
                fill(event, twin, [name for name in FROM_TWINS if name not in twin.filled])
            if known and known.counted_as:
                twins.setdefault(event.span_id, known.counted_as)
        for span_id, counted_as in tries_elsewhere(tree.events, foreign).items():
            twins.setdefault(span_id, counted_as)
    by_span = {event.span_id: event for event in tree.events} if twins else {}
    for event in tree.events:
        event.duplicate_of = twins.get(event.span_id, "")
        counted = by_span.get(event.duplicate_of) if event.duplicate_of else None
        if counted is not None and event.source == "log":
            fill(counted, event, FROM_LOG_TWINS)
        elif counted is not None and event.kind in MODEL_KINDS:
            fill(counted, event, FROM_TWINS)
        elif counted is not None and event.kind == TOOL:
            fill_outcome(counted, event)


def _settle_costs(tree: Tree, foreign: Mapping[str, Foreign], price: Price) -> None:
    """What other traces computed does not count: what they know is filled in by now."""
    sources: dict[str, list[Event]] = defaultdict(list)
    for event in tree.events:
        if event.duplicate_of and event.kind in MODEL_KINDS:
            sources[event.duplicate_of].append(event)
    for span_id, known in foreign.items():
        sources[span_id] += [twin for twin in known.twins if twin.cost_source == "reported"]
    for span_id, parts in tree.parts.items():
        sources[span_id] += [part for part in parts if part.part == "details"]
    for event in tree.events:
        if event.kind in MODEL_KINDS and (event.filled or event.span_id in sources):
            fill_cost(event, sources.get(event.span_id, ()), price)


def _settle_handoffs(tree: Tree) -> None:
    """From whom: the agent the span names, the agent around it, else the one before it. To whom: the agent
    that the span names, else the next other one."""
    settle_transfers(tree)
    if not any(event.kind == HANDOFF for event in tree.events):
        return
    above = agents_above(tree)
    previous = ""
    for event in tree.events:
        if event.kind == AGENT:
            previous = agent_name(event)
        elif event.kind == LLM and event.agent:
            previous = event.agent
        elif event.kind == HANDOFF:
            event.handoff_from = event.agent or above[event.span_id] or previous
    following = after_that = ""
    for event in reversed(tree.events):
        if event.kind == AGENT:
            if agent_name(event) != following:
                following, after_that = agent_name(event), following
        elif event.kind == HANDOFF and not event.handoff_to:
            guess = following if following != event.handoff_from else after_that
            if guess:
                event.handoff_told = event.handoff_source
                event.handoff_to, event.handoff_source = guess, "agent_sequence"


# --------------------------------------------------------------------------- the run


def _identify(tree: Tree) -> Run:
    """Name, status and labels: those of the root, which is the earliest span without a parent; a label that
    the root lacks is the first one found. A session that a program named comes before ids that libraries made up."""
    first = tree.events[0]
    root = next((event for event in tree.events if event.is_root), None)
    leading = root or first
    ordered = [leading, *tree.events]
    run = Run(
        run_id=first.run_id,
        tenant=first.tenant,
        project=leading.project,
        name=leading.name,
        has_root=root is not None,
        start_ns=first.start_ns,
        end_ns=max(max(event.end_ns for event in tree.events), 0),
        session_id=_first(event.session_id for event in ordered if not event.session_is_weak)
        or _first(event.session_id for event in ordered),
        user_id=_first(event.user_id for event in ordered),
        environment=_first(event.environment for event in ordered),
        tags=next((event.tags for event in ordered if event.tags), ()),
        metadata=root.metadata if root else {},
        input=root.input if root else "",
        output=root.output if root else "",
        setup_only=_sets_up_only(tree.events),
    )
    _end(run, root)
    if all(event.source == "log" for event in tree.events):
        _tell_session(run, tree)
    return run


def _end(run: Run, root: Event | None) -> None:
    """A run is over as soon as its root is."""
    if root is not None and root.status != Status.RUNNING:
        failed = root.status == ERROR
        run.status = RunStatus.FAILED if failed else RunStatus.COMPLETED
        run.error_type, run.error_message = root.error_type, root.error_message


def _tell_session(run: Run, tree: Tree) -> None:
    """A coding agent's session has no root. It is over, until more is heard of it, when its agent says so or when
    the last thing was an answer that asks for nothing more; a prompt or a tool's result await one."""
    last = max(tree.events, key=lambda event: (event.end_ns, event.start_ns, event.span_id))
    run.name = tree.events[0].convention or run.name
    run.input = _first(event.input for event in tree.events if event.kind == OTHER)
    if last.operation == SESSION_END:
        run.has_root, run.status = True, RunStatus.COMPLETED
    elif last.kind == LLM and not {"tool_use", "tool_calls"} & set(last.finish_reasons):
        failed = last.status == ERROR
        run.has_root, run.status = True, RunStatus.FAILED if failed else RunStatus.COMPLETED
        run.error_type, run.error_message = last.error_type, last.error_message


def _sets_up_only(events: Iterable[Event]) -> bool:
    kinds = {event.kind for event in events if not event.is_setup}
    return kinds <= {OTHER} and any(event.is_setup for event in events)


def _sum_calls(run: Run, calls: Sequence[Call]) -> None:
    """Tokens and money of leaf calls only: sums that agents and workflows report would count them again."""
    llm = [call for call in calls if call.event.kind == LLM]
    run.usage = Usage(
        input=_sum(call.event.input_tokens for call in llm),
        output=_sum(call.event.output_tokens for call in llm),
        cache_read=_sum(call.event.cache_read_tokens for call in llm),
        cache_write=_sum(call.event.cache_write_tokens for call in llm),
        reasoning=_sum(call.event.reasoning_tokens for call in llm),
        embedding=_sum(call.event.input_tokens for call in calls if call.event.kind == EMBEDDING),
    )
    run.cost_usd = _sum(call.event.cost_usd for call in calls)
    sources = {call.event.cost_source for call in calls if call.event.cost_usd is not None}
    run.cost_source = "mixed" if len(sources) > 1 else next(iter(sources), None) or ""


def _count(run: Run, tree: Tree, calls: Sequence[Call]) -> None:
    spans = {event.span_id for event in tree.events if event.source != "log"}
    counts = Counts(spans=len(spans), events=len(tree.events) + sum(map(len, tree.parts.values())))
    counted = [event for event in tree.events if not event.duplicate_of]
    kinds = Counter([event.kind for event in counted])
    failed = Counter([event.kind for event in counted if event.status == ERROR])
    counts.errors = failed.total()
    counts.llm_calls, counts.llm_errors = kinds[LLM], failed[LLM]
    counts.embeddings = kinds[EMBEDDING]
    counts.tool_calls, counts.tool_errors = kinds[TOOL], failed[TOOL]
    counts.handoffs = kinds[HANDOFF] + sum([event.handoff_source in UNSEEN for event in counted])
    counts.unpriced_calls = sum(_has_unknown_cost(call) for call in calls)
    counts.retries = sum(call.attempts - 1 for call in calls) + len(repeated(calls))
    run.counts = counts


def _has_unknown_cost(call: Call) -> bool:
    """A failed call that nobody counted tokens of is taken as not charged."""
    event = call.event
    return event.cost_usd is None and (event.status == OK or event.input_tokens is not None)


def _collect(run: Run, tree: Tree, calls: Sequence[Call]) -> None:
    """Who and what took part, each once, in order of appearance."""
    counted = [event for event in tree.events if not event.duplicate_of]
    run.agents = _distinct(map(_acting, counted))
    run.models = _distinct(
        call.event.response_model or call.event.request_model for call in calls if call.event.kind == LLM
    )
    run.tools = _distinct(event.tool for event in counted if event.kind == TOOL)
    run.services = _distinct(event.service for event in tree.events)
    run.conventions = _distinct(event.convention for event in tree.events)


def _acting(event: Event) -> str:
    """Whose turn it is, who called a model or a tool, or who hands over: not all libraries tell of turns."""
    if event.kind == AGENT:
        return agent_name(event)
    if event.kind == HANDOFF:
        return event.handoff_from
    return event.agent if event.kind == LLM or event.kind == TOOL else ""


def _first(values: Iterable[str]) -> str:
    return next(filter(None, values), "")


def _sum(values: Iterable[Any]) -> Any:
    """Sum of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
