"""A run as a list of moments: what began, what ended, what went wrong, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mappers.calls import calls_of, repeated
from mappers.model import Event, Kind, Run, RunStatus, Status, Usage
from mappers.transfers import UNSEEN
from mappers.tree import MODEL_KINDS, Tree, agent_name, agents_above

_PREFIXES = {
    Kind.LLM: "llm_call",
    Kind.TOOL: "tool_call",
    Kind.EMBEDDING: "embedding",
    Kind.RETRIEVER: "retrieval",
    Kind.RERANKER: "retrieval",
    Kind.AGENT: "agent",
    Kind.WORKFLOW: "workflow",
    Kind.GUARDRAIL: "guardrail",
}
"""Kinds that appear, by how their entries' types begin. Handoffs are one moment; others are left out."""

TYPES = (
    *(f"run_{moment}" for moment in ("started", "completed", "failed")),
    *(
        f"{prefix}_{moment}"
        for prefix in dict.fromkeys(_PREFIXES.values())
        for moment in ("started", "completed", "failed")
    ),
    "handoff_started",
    "retry_triggered",
)
"""Of entries."""


@dataclass(slots=True, kw_only=True)
class TimelineEntry:
    """One moment of a run, with the contract's fields (design.md §7). Times in ns, latency in ms.

    Not frozen: that would double the time that a timeline takes.
    """

    event_id: str
    """Unique within the run."""
    type: str
    run_id: str
    span_id: str = ""
    parent_span_id: str = ""
    time_ns: int
    kind: str = ""
    name: str
    agent: str = ""
    provider: str = ""
    model: str = ""
    operation: str = ""
    tool: str = ""
    tool_call_id: str = ""
    status: str
    usage: Usage | None = None
    """Of model calls, in closing entries."""
    cost_usd: Decimal | None = None
    latency_ms: float | None = None
    """Closing entries only."""
    ttft_ms: float | None = None
    finish_reasons: Sequence[str] = ()
    error_type: str = ""
    error_message: str = ""
    handoff_from: str = ""
    handoff_to: str = ""
    handoff_source: str = ""
    convention: str = ""
    duplicate_of: str = ""
    input: str = ""
    output: str = ""
    event: Event | None = None
    """What the entry tells of; None for the run itself."""


def timeline(run: Run, events: Sequence[Event]) -> list[TimelineEntry]:
    """All entries of a run, sorted by time, then id.

    Twins are in it and say whose twins they are. A span that has not ended has only begun.

    Args:
        run: as `assemble` made it.
        events: all events of the run, settled by `assemble`.
    """
    tree = Tree(events)
    above = agents_above(tree)
    entries = [*_of_run(run), *_of_retries(tree, above)]
    for event in tree.events:
        agent = event.agent or (
            agent_name(event) if event.kind == Kind.AGENT else above.get(event.span_id, "")
        )
        entries += _of_event(event, agent)
    entries.sort(key=lambda entry: (entry.time_ns, entry.event_id))
    return entries


def _of_run(run: Run) -> Iterator[TimelineEntry]:
    yield TimelineEntry(
        event_id=f"{run.run_id}.run.start",
        type="run_started",
        run_id=run.run_id,
        time_ns=run.start_ns,
        name=run.name,
        status=Status.OK,
        input=run.input,
    )
    if run.status in (RunStatus.COMPLETED, RunStatus.FAILED):
        failed = run.status == RunStatus.FAILED
        yield TimelineEntry(
            event_id=f"{run.run_id}.run.end",
            type="run_failed" if failed else "run_completed",
            run_id=run.run_id,
            time_ns=run.end_ns,
            name=run.name,
            status=Status.ERROR if failed else Status.OK,
            usage=run.usage,
            cost_usd=run.cost_usd,
            latency_ms=_ms(run.end_ns - run.start_ns),
            error_type=run.error_type,
            error_message=run.error_message,
            output=run.output,
        )


def _of_event(event: Event, agent: str) -> Iterator[TimelineEntry]:
    if event.kind == Kind.HANDOFF:
        yield _entry(event, agent, "handoff", "handoff_started", event.start_ns)
        return
    if event.handoff_source in UNSEEN:
        yield _entry(event, agent, "handoff", "handoff_started", event.end_ns)
    prefix = _PREFIXES.get(Kind(event.kind))
    if prefix is None:
        return
    yield _entry(event, agent, "start", f"{prefix}_started", event.start_ns)
    if event.status != Status.RUNNING:
        ending = "failed" if event.status == Status.ERROR else "completed"
        yield _entry(event, agent, "end", f"{prefix}_{ending}", event.end_ns, closing=True)


def entries_of(event: Event, agent_above: str = "") -> Sequence[TimelineEntry]:
    """The entries of an event, told from it alone: whose agent it is only as far as it says so itself, or the name of
    the nearest agent above it is given."""
    return list(
        _of_event(event, agent_name(event) if event.kind == Kind.AGENT else event.agent or agent_above)
    )


def entry_types(kind: str, *, running: bool = False) -> Sequence[str]:
    """Types of the entries of an event of that kind; () if it has none."""
    if kind == Kind.HANDOFF:
        return ("handoff_started",)
    prefix = _PREFIXES.get(Kind(kind))
    if prefix is None:
        return ()
    return (f"{prefix}_started",) if running else (f"{prefix}_started", f"{prefix}_completed")


def _of_retries(tree: Tree, above: dict[str, str]) -> Iterator[TimelineEntry]:
    """One entry for each repetition: at the start of the span that repeats, or for tries within one span at
    its start, since nobody says when they were."""
    calls = calls_of(tree)
    repetitions = repeated(calls)
    for call in calls:
        event = call.event
        count = (event.span_id in repetitions) + call.attempts - 1
        agent = event.agent or above.get(event.span_id, "")
        for number in range(1, count + 1):
            yield _entry(event, agent, f"retry.{number}", "retry_triggered", event.start_ns)


def _entry(
    event: Event, agent: str, suffix: str, kind: str, time_ns: int, *, closing: bool = False
) -> TimelineEntry:
    ordinal = f".{event.seq}" if event.seq else ""
    is_call = closing and event.kind in MODEL_KINDS
    is_handoff = suffix == "handoff"
    return TimelineEntry(
        event_id=f"{event.span_id}{ordinal}.{suffix}",
        type=kind,
        run_id=event.run_id,
        span_id=event.span_id,
        parent_span_id=event.parent_span_id,
        time_ns=time_ns,
        kind=event.kind,
        name=event.name,
        agent=agent,
        provider=event.provider,
        model=event.response_model or event.request_model,
        operation=event.operation,
        tool=event.tool,
        tool_call_id=event.tool_call_id,
        status=event.status if closing or is_handoff else Status.RUNNING,
        usage=_usage(event) if is_call else None,
        cost_usd=event.cost_usd if is_call else None,
        latency_ms=_ms(event.end_ns - event.start_ns) if closing else None,
        ttft_ms=event.ttft_ms if closing else None,
        finish_reasons=event.finish_reasons if closing else (),
        error_type=event.error_type if closing else "",
        error_message=event.error_message if closing else "",
        handoff_from=event.handoff_from if is_handoff else "",
        handoff_to=event.handoff_to if is_handoff else "",
        handoff_source=event.handoff_source if is_handoff else "",
        convention=event.convention,
        duplicate_of=event.duplicate_of,
        input=event.input,
        output=event.output if closing or is_handoff else "",
        event=event,
    )


def _usage(event: Event) -> Usage | None:
    if not event.usage_source:
        return None
    if event.kind == Kind.EMBEDDING:
        return Usage(embedding=event.input_tokens)
    return Usage(
        input=event.input_tokens,
        output=event.output_tokens,
        cache_read=event.cache_read_tokens,
        cache_write=event.cache_write_tokens,
        reasoning=event.reasoning_tokens,
    )


def _ms(duration_ns: int) -> float:
    return max(duration_ns, 0) / 1e6
