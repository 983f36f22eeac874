"""Events of one thread of work — a run, or the runs of a session — as steps in their order.

Which events take part is decided by `assemble` before: twins do not, and where tools were executed what models
asked for does not either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mappers.loops.fingerprint import TRANSIENT, handoff_step, output_step, tool_step
from mappers.loops.step import Step, StepKind
from mappers.messages.document import hash64
from mappers.model import Event, Kind, Status

# Names of the module are found in a fifth of the time that a member takes on its class.
LLM, TOOL, HANDOFF, RETRIEVER = Kind.LLM, Kind.TOOL, Kind.HANDOFF, Kind.RETRIEVER
ASKS, WRITES, HANDS_OVER, EXECUTES = StepKind.CALL, StepKind.OUTPUT, StepKind.HANDOFF, StepKind.TOOL
ERROR = Status.ERROR
KINDS = frozenset({LLM, TOOL, HANDOFF, RETRIEVER})
MAX_AGENTS = 16
"""Agents of a thread whose requests are waited for at a time."""
BLANK = hash64(b"")
"""`Event.result_hash` of an answer that is known to be empty."""


class Happening:
    """An event's place in a thread, before anything is made of its texts.

    These are held here, for the event loses them when it is stored.
    """

    __slots__ = ("answered", "event", "given", "kind")

    def __init__(self, event: Event, kind: StepKind) -> None:
        self.event = event
        self.kind = kind
        self.given = event.input
        self.answered = event.output

    @property
    def tool(self) -> str:
        return self.event.tool or self.event.name

    @property
    def lacks_texts(self) -> bool:
        """Whether its texts are stored and not at hand."""
        event = self.event
        return (not self.given and event.args_hash not in (0, BLANK)) or (
            not self.answered and event.result_hash not in (0, BLANK)
        )

    @property
    def arguments(self) -> str | None:
        """None if they were not captured, or are not to be kept."""
        captured = self.event.args_hash
        return self.given if captured == BLANK or (captured and self.given) else None

    @property
    def result(self) -> str | None:
        """None if it was not captured, or is not to be kept."""
        captured = self.event.result_hash
        return self.answered if captured == BLANK or (captured and self.answered) else None

    @property
    def identity(self) -> int:
        """Equal for events that lead to the same step."""
        event = self.event
        return hash(
            (
                event.run_id,
                event.span_id,
                event.seq,
                event.start_ns,
                event.end_ns,
                self.kind,
                event.status,
                event.args_hash,
                event.result_hash,
                event.tool,
                event.handoff_to,
                event.input_tokens,
                event.output_tokens,
                event.cost_usd,
            )
        )

    @property
    def event_id(self) -> str:
        event = self.event
        ordinal = f".{event.seq}" if event.seq else ""
        if self.kind is HANDS_OVER:
            return f"{event.span_id}{ordinal}.handoff"
        return f"{event.span_id}{ordinal}.{'end' if event.end_ns else 'start'}"


def _order(happening: Happening) -> tuple[int, int, str, int]:
    event = happening.event
    return event.end_ns, event.start_ns, event.span_id, event.seq


def happenings(events: Sequence[Event]) -> list[Happening]:
    """What takes part, in order: by when its result was known, so that a call comes after what happened in it."""
    kinds = {event.kind for event in events}
    executed = TOOL in kinds or HANDOFF in kinds
    tools: set[str] = set()
    if RETRIEVER in kinds:
        tools = {event.span_id for event in events if event.kind == TOOL or event.kind == RETRIEVER}
    found = []
    for event in events:
        kind = event.kind
        if kind not in KINDS or event.duplicate_of or not event.end_ns:
            continue
        if kind == LLM:
            asks = event.tool_requests and not executed
            found.append(Happening(event, ASKS if asks else WRITES))
        elif kind == HANDOFF:
            found.append(Happening(event, HANDS_OVER))
        elif kind == TOOL or event.parent_span_id not in tools:  # else the tool around it tells the same
            found.append(Happening(event, EXECUTES))
    found.sort(key=_order)
    return found


class Steps:
    """Makes the steps of one thread, in its order.

    Where tools were not told of, what models asked for stands for them: a request becomes a step once the same
    agent's next call says what it was told in answer.

    Args:
        across: the thread is a session. What models write to a reader is not compared over its runs.
        calls: whether model calls are steps, too.
    """

    __slots__ = ("_across", "_asked", "_calls")

    def __init__(self, *, across: bool = False, calls: bool = True) -> None:
        self._across = across
        self._calls = calls
        self._asked: dict[str, Happening] = {}

    def of(self, happening: Happening) -> Sequence[Step]:
        """The steps that a happening completes."""
        event = happening.event
        if event.kind != LLM:
            return (_step(happening),)
        steps: list[Step] = []
        asked = self._asked.pop(event.agent, None) if self._asked else None
        if asked is not None:
            steps += _requested(asked.event, happening)
        if happening.kind is ASKS and len(self._asked) < MAX_AGENTS:
            self._asked[event.agent] = happening
        if self._calls:
            steps.append(_call(happening, compared=not self._across))
        return steps


def _step(happening: Happening) -> Step:
    event = happening.event
    step = Step(
        happening.event_id,
        happening.kind,
        tool=happening.tool,
        agent=event.agent,
        start_ns=event.start_ns,
        end_ns=event.end_ns,
    )
    if happening.kind is HANDS_OVER:
        step.tool = event.handoff_to or event.tool
        return handoff_step(step, happening.arguments or "")
    answered, error = happening.result, None
    if event.status == ERROR:
        error = event.error_message or answered or event.error_type
    return tool_step(step, happening.arguments, answered, error, event.signs)


def _call(happening: Happening, *, compared: bool) -> Step:
    event = happening.event
    step = Step(
        happening.event_id,
        StepKind.CALL,
        agent=event.agent,
        start_ns=event.start_ns,
        end_ns=event.end_ns,
        model=event.response_model or event.request_model,
        tokens=tokens_of(event),
        input_tokens=event.input_tokens,
        cost_nano_usd=nano_usd_of(event),
    )
    if event.status == ERROR:
        step.exact = event.args_hash
        step.failed = True
        step.transient = TRANSIENT.search(f"{event.error_type} {event.error_message}") is not None
    elif compared and not event.tool_requests:
        output_step(step, happening.answered, happening.given, event.result_hash)
    return step


def _requested(asked: Event, answer: Happening) -> Iterator[Step]:
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
        alone = len(asked.tool_requests) == 1 and bool(answer.given)
        tool_step(step, None, answer.given if alone else None, None)
        step.has_args = bool(request.args_hash)
        # Requests of one answer are made at once: that they were is no echo.
        step.exact = step.shape = hash64(f"{request.name}\0{request.args_hash}\0{number}".encode()) >> 4
        yield step


def tokens_of(event: Event) -> int | None:
    read, written = event.input_tokens, event.output_tokens
    return None if read is None and written is None else (read or 0) + (written or 0)


def nano_usd_of(event: Event) -> int | None:
    return None if event.cost_usd is None else int(event.cost_usd * 10**9)
