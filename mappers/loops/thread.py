"""Events of one thread of work — a run, or the runs of a session — as steps in their order.

Which events take part is decided by `assemble` before: twins do not, and where tools were executed what models
asked for does not either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mappers.loops.fingerprint import TRANSIENT, handoff_step, output_step, tool_step
from mappers.loops.step import Step, StepKind
from mappers.messages.document import hash64
from mappers.model import Event, Kind, Status

KINDS = frozenset({Kind.LLM, Kind.TOOL, Kind.HANDOFF, Kind.RETRIEVER})
FEWEST = 3
"""Tool calls, handoffs, retrievals or model calls below which nothing can have repeated often enough."""
MAX_AGENTS = 16
"""Agents of a thread whose requests are waited for at a time."""
SLOW_NS = 30 * 10**9
"""A step of this length may be worth a word of its own, whatever the others are."""


@dataclass(frozen=True, slots=True)
class Happening:
    """An event's place in a thread, before anything is made of its texts."""

    event: Event
    kind: StepKind
    order: tuple[int, int, str, int]
    identity: int
    """Equal for events that lead to the same step."""

    @property
    def event_id(self) -> str:
        event = self.event
        ordinal = f".{event.seq}" if event.seq else ""
        if self.kind is StepKind.HANDOFF:
            return f"{event.span_id}{ordinal}.handoff"
        return f"{event.span_id}{ordinal}.{'end' if event.end_ns else 'start'}"


def happenings(events: Sequence[Event]) -> list[Happening]:
    """What takes part, in order: by when its result was known, so that a call comes after what happened in it."""
    tools = {event.span_id for event in events if event.kind in (Kind.TOOL, Kind.RETRIEVER)}
    executed = any(event.kind in (Kind.TOOL, Kind.HANDOFF) for event in events)
    found = []
    for event in events:
        if event.kind not in KINDS or event.duplicate_of or not event.end_ns:
            continue
        if event.kind == Kind.HANDOFF:
            kind = StepKind.HANDOFF
        elif event.kind == Kind.LLM:
            kind = StepKind.CALL if event.tool_requests and not executed else StepKind.OUTPUT
        else:
            if event.kind == Kind.RETRIEVER and event.parent_span_id in tools:
                continue  # the tool around it tells the same
            kind = StepKind.TOOL
        found.append(
            Happening(
                event,
                kind,
                (event.end_ns, event.start_ns, event.span_id, event.seq),
                hash(
                    (
                        event.run_id,
                        event.span_id,
                        event.seq,
                        event.start_ns,
                        event.end_ns,
                        kind,
                        event.status,
                        event.args_hash,
                        event.result_hash,
                        event.tool,
                        event.handoff_to,
                        event.input_tokens,
                        event.output_tokens,
                        event.cost_usd,
                    )
                ),
            )
        )
    found.sort(key=lambda happening: happening.order)
    return found


def may_warn(found: Sequence[Happening]) -> bool:
    """Whether any detector could hold: the prefilter before texts are looked at. Never says no where looking
    would have found something, but for detectors of others that hold at fewer steps."""
    if len(found) >= FEWEST:
        counts: dict[str, int] = {}
        for happening in found:
            event = happening.event
            name = event.handoff_to if happening.kind is StepKind.HANDOFF else event.tool or event.kind
            counts[name] = counts.get(name, 0) + 1
            if counts[name] >= FEWEST:
                return True
        if len(found) >= 2 * FEWEST:
            return True
    return any(
        happening.event.end_ns - happening.event.start_ns >= SLOW_NS or happening.event.attempts > 1
        for happening in found
    )


class Steps:
    """Makes the steps of one thread, in its order.

    Where tools were not told of, what models asked for stands for them: a request becomes a step once the same
    agent's next call says what it was told in answer.
    """

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: dict[str, Happening] = {}

    def of(self, happening: Happening, given: str, answered: str) -> Iterator[Step]:
        """The steps that a happening completes.

        Args:
            given, answered: the event's input and output, as far as they are kept.
        """
        event = happening.event
        if event.kind == Kind.LLM:
            asked = self._asked.pop(event.agent, None)
            if asked is not None:
                yield from _requested(asked.event, happening, given)
            if happening.kind is StepKind.CALL and len(self._asked) < MAX_AGENTS:
                self._asked[event.agent] = happening
        yield _step(happening, given, answered)


def _step(happening: Happening, given: str, answered: str) -> Step:
    event = happening.event
    step = Step(
        happening.event_id,
        happening.kind,
        tool=event.tool or event.name,
        agent=event.agent,
        start_ns=event.start_ns,
        end_ns=event.end_ns,
    )
    match happening.kind:
        case StepKind.TOOL:
            error = (
                (event.error_message or answered or event.error_type)
                if event.status == Status.ERROR
                else None
            )
            tool_step(
                step,
                given if event.input_bytes is not None else None,
                answered if event.output_bytes is not None else None,
                error,
            )
        case StepKind.HANDOFF:
            step.tool = event.handoff_to or event.tool
            handoff_step(step, given)
        case _:
            _tell_call(step, event, given, answered)
    return step


def _tell_call(step: Step, event: Event, given: str, answered: str) -> None:
    step.tool = ""
    step.model = event.response_model or event.request_model
    step.tokens = _sum(event.input_tokens, event.output_tokens)
    step.input_tokens = event.input_tokens
    if event.cost_usd is not None:
        step.cost_nano_usd = int(event.cost_usd * Decimal(10**9))
    if event.status == Status.ERROR:
        step.kind = StepKind.CALL
        step.exact = event.args_hash
        step.failed = True
        step.transient = TRANSIENT.search(f"{event.error_type} {event.error_message}") is not None
    elif event.tool_requests:
        step.kind = StepKind.CALL
    else:
        output_step(step, answered, given, event.result_hash)


def _requested(asked: Event, answer: Happening, told: str) -> Iterator[Step]:
    """What a model asked for, with what it was told next as the result if it asked for one thing."""
    for number, request in enumerate(asked.tool_requests):
        step = Step(
            answer.event_id,
            StepKind.TOOL,
            tool=request.name,
            agent=asked.agent,
            start_ns=asked.end_ns,
            end_ns=max(asked.end_ns, answer.event.start_ns),
        )
        alone = len(asked.tool_requests) == 1 and bool(told)
        tool_step(step, None, told if alone else None, None)
        step.has_args = bool(request.args_hash)
        # Requests of one answer are made at once: that they were is no echo.
        step.exact = step.shape = hash64(f"{request.name}\0{request.args_hash}\0{number}".encode()) >> 4
        yield step


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)
