"""What a thread could hold by what is stored of its events: the prefilter before steps are made of texts.

Every detector says what it needs at least (`Detector.possible`); where no detector could hold, none is asked. So an
outline may count too much — calls told twice, for one — but never too little.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal

from mappers.loops.fingerprint import (
    MIN_OUTPUT,
    Arguments,
    arguments_of,
    head_of,
    outcome_of,
    similarity,
    words_of_output,
)
from mappers.loops.recent import Novelty
from mappers.loops.signs import Sign
from mappers.loops.step import StepKind
from mappers.loops.thread import BLANK, Happening
from mappers.model import Kind, Status

COMPARED = 16
"""Calls of a tool that are compared with each other; of more, following the thread costs less."""
EMPTY, FAILED = Sign.EMPTY, Sign.FAILED
QUIET = EMPTY | FAILED
# Names of the module are found in a fifth of the time that a member takes on its class.
CALL, HANDOFF, TOOL = StepKind.CALL, StepKind.HANDOFF, StepKind.TOOL
LLM, ERROR = Kind.LLM, Status.ERROR

Value = Callable[[Happening], int | None]
"""What is counted of a call; None: it may be any, 0: none."""


class Frequencies:
    """How often equal values came, counted when somebody asks. None may equal any, 0 equals nothing."""

    __slots__ = ("_counts", "_seen", "_unknown")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._seen = 0
        self._unknown = 0

    def count(self, happenings: Sequence[Happening], value: Value) -> None:
        for happening in happenings[self._seen :]:
            found = value(happening)
            if found is None:
                self._unknown += 1
            elif found:
                self._counts[found] = self._counts.get(found, 0) + 1
        self._seen = len(happenings)

    def reaching(self, least: int) -> int:
        """How many values may have come that often."""
        if self._unknown:
            return (
                len(self._counts) + self._unknown
                if self._unknown + max(self._counts.values(), default=0) >= least
                else 0
            )
        return sum(count >= least for count in self._counts.values())


class Calls:
    """Executed calls of one tool, in their order."""

    __slots__ = ("_counted", "_similar", "_sketches", "empty", "failed", "happenings", "tool")

    def __init__(self, tool: str) -> None:
        self.tool = tool
        self.happenings: list[Happening] = []
        self.failed = 0
        self.empty = 0
        self._counted: dict[Value, Frequencies] = {}
        """What was asked for. Mostly that is nothing: a tool is called a few times in a run."""
        self._sketches: list[array[int]] = []
        self._similar = 0

    def __len__(self) -> int:
        return len(self.happenings)

    def same(self, least: int) -> bool:
        """Whether one call may have been made so often."""
        if not self._may_be_given(least):
            return False
        return self._frequencies(_exact).reaching(least) > 0

    def shapes(self, least: int) -> int:
        """How many calls, digits aside, may have been made so often."""
        if not self._may_be_given(least):
            return 0
        return self._frequencies(_shape).reaching(least)

    def same_answer(self, least: int) -> bool:
        """Whether one answer that says something may have been given so often."""
        if len(self.happenings) - self.failed - self.empty < least:
            return False
        if not self._frequencies(_answer_head).reaching(least):
            return False
        return self._frequencies(_answer).reaching(least) > 0

    def count_heads(self) -> None:
        """Counts how calls and answers begin, which needs their texts."""
        self._frequencies(_given_head)
        self._frequencies(_answer_head)

    def _frequencies(self, value: Value) -> Frequencies:
        """How often values came until now."""
        found = self._counted.get(value)
        if found is None:
            found = self._counted[value] = Frequencies()
        found.count(self.happenings, value)
        return found

    def _may_be_given(self, least: int) -> bool:
        """Whether so many calls may have arguments that begin alike. Most do not, which takes less time to see
        than to mask and hash the whole."""
        if len(self.happenings) < least:
            return False
        return self._frequencies(_given_head).reaching(least) > 0

    def similar(self, least: int, alike: float) -> bool:
        """Whether so many calls may have been nearly the same as an earlier one."""
        if len(self.happenings) <= least:
            return False
        if len(self.happenings) > COMPARED:
            return True
        if any(one.lacks_texts for one in self.happenings[len(self._sketches) :]):
            return True
        for happening in self.happenings[len(self._sketches) :]:
            sketch = arguments_of(self.tool, happening.arguments or "").sketch
            self._similar += any(similarity(sketch, other) >= alike for other in self._sketches)
            self._sketches.append(sketch)
        return self._similar >= least


class Outline:
    """Counts over a thread, taken up event by event.

    Args:
        across: the thread is a session, over whose runs what models write is not compared.
    """

    def __init__(self, novelty: Novelty, *, across: bool = False) -> None:
        self.novelty = novelty
        self.steps = 0
        """Of every kind; what models asked for counts as executed if nothing else tells of it."""
        self.calls: dict[str, Calls] = {}
        """Executed tool calls and retrievals, by tool."""
        self.requests: Counter[str] = Counter()
        """What models asked for in place of executed calls, by tool: how it ended is not known here."""
        self.same_requests: Counter[tuple[str, int, int]] = Counter()
        self.tool_steps = 0
        self.failed = 0
        """Tool steps that failed or may have."""
        self.empty = 0
        """Those that found nothing or may have."""
        self.handoffs = 0
        self.model_calls = 0
        self.refused: Counter[int] = Counter()
        """Failed model calls by what they were given."""
        self.tokens = 0
        self.most_input_tokens = 0
        self.cost_usd = Decimal(0)
        self.began_ns = 0
        self.ended_ns = 0
        self.longest_tool_ns = 0
        self.longest_call_ns = 0
        self._across = across
        self._row: list[Happening] = []
        self._rows: list[list[Happening]] = []
        self._asked_ns: dict[str, int] = {}

    def add(self, happening: Happening) -> None:
        """Takes up the next event of the thread."""
        self.steps += 1
        event = happening.event
        if self.steps == 1 or event.start_ns < self.began_ns:
            self.began_ns = event.start_ns
        if event.end_ns > self.ended_ns:
            self.ended_ns = event.end_ns
        kind = happening.kind
        if kind is TOOL:
            self._add_tool(happening)
        elif kind is HANDOFF:
            self.handoffs += 1
            self._row = []
        else:
            self._add_call(happening)

    def add_call(self, happening: Happening) -> None:
        """Takes up the next event if it is a model call; enough for `Engine.calls_matter`."""
        if happening.event.kind == LLM:
            self._add_call(happening)

    def count_heads(self) -> None:
        """To be called before the texts of what was added are let go of: by their beginnings most calls are still told
        apart, and a session need not be looked at for want of its texts."""
        for calls in self.calls.values():
            calls.count_heads()

    def _add_tool(self, happening: Happening) -> None:
        event = happening.event
        tool = event.tool or event.name
        calls = self.calls.get(tool)
        if calls is None:
            calls = self.calls[tool] = Calls(tool)
        earlier = calls.happenings
        if not earlier or earlier[-1].event.end_ns < event.start_ns:
            self._row = []  # unlike an echo, which the evaluator does not see
        earlier.append(happening)
        self.tool_steps += 1
        if event.status == ERROR or event.signs & FAILED:
            calls.failed += 1
            self.failed += 1
        elif event.signs & EMPTY:
            calls.empty += 1
            self.empty += 1
        self.longest_tool_ns = max(self.longest_tool_ns, event.end_ns - event.start_ns)

    def _add_call(self, happening: Happening) -> None:
        event = happening.event
        self.model_calls += 1
        if event.input_tokens:
            self.tokens += event.input_tokens
            if event.input_tokens > self.most_input_tokens:
                self.most_input_tokens = event.input_tokens
        if event.output_tokens:
            self.tokens += event.output_tokens
        if event.cost_usd is not None:
            self.cost_usd += event.cost_usd
        took = event.end_ns - event.start_ns
        if took > self.longest_call_ns:
            self.longest_call_ns = took
        if self._asked_ns:
            asked_ns = self._asked_ns.pop(event.agent, event.start_ns)
            self.longest_tool_ns = max(self.longest_tool_ns, event.start_ns - asked_ns)
        if event.status == ERROR:
            self.refused[event.args_hash] += 1
        if happening.kind is CALL:
            self._add_requests(happening)
        elif not self._across and event.status != ERROR and not event.tool_requests:
            if not self._row:
                self._rows.append(self._row)
            self._row.append(happening)

    def _add_requests(self, happening: Happening) -> None:
        event = happening.event
        self._asked_ns[event.agent] = event.end_ns
        for number, request in enumerate(event.tool_requests):
            self.requests[request.name] += 1
            self.same_requests[request.name, request.args_hash, number] += 1
            self.steps += 1
            self.tool_steps += 1
            self.failed += 1
            self.empty += 1

    # ------------------------------------------------------------------- what detectors ask

    @property
    def elapsed_ns(self) -> int:
        return self.ended_ns - self.began_ns

    def same_request(self, least: int) -> bool:
        """Whether models asked for one thing so often."""
        return any(count >= least for count in self.same_requests.values())

    def shapes(self, least: int) -> int:
        """How many calls, digits aside, may have been made so often."""
        asked = sum(count >= least for count in self.same_requests.values())
        return asked + sum(calls.shapes(least) for calls in self.calls.values())

    def any_tool(self, least: int, count: Callable[[Calls], int]) -> bool:
        """Whether what is counted of a tool's calls, and what may be of the requests for it, comes to so many."""
        if self.requests:
            return any(
                requests + (count(self.calls[tool]) if tool in self.calls else 0) >= least
                for tool, requests in self.requests.items()
            ) or any(count(calls) >= least for calls in self.calls.values())
        return any(count(calls) >= least for calls in self.calls.values())

    def repeated_output(self, least: int, alike: float) -> bool:
        """Whether so many outputs, with no tool or handoff between them, may be the same."""
        return any(len(row) >= least and _repeats(row, least, alike) for row in self._rows)


def _exact(happening: Happening) -> int | None:
    found = _arguments(happening)
    return found.exact if found else None if happening.lacks_texts else 0


def _shape(happening: Happening) -> int | None:
    found = _arguments(happening)
    return found.shape if found else None if happening.lacks_texts else 0


def _given_head(happening: Happening) -> int | None:
    given = _given(happening)
    return _head(given) if given is not None else None if happening.lacks_texts else 0


def _arguments(happening: Happening) -> Arguments | None:
    given = _given(happening)
    return arguments_of(happening.tool, given) if given is not None else None


def _given(happening: Happening) -> str | None:
    """None if the arguments are not at hand, or neither they nor an answer were captured."""
    event = happening.event
    given = happening.arguments
    if given or (event.args_hash in (0, BLANK) and (event.result_hash or event.status == ERROR)):
        return given or ""
    return None


def _answer(happening: Happening) -> int | None:
    return _of_answer(happening, outcome_of)


def _answer_head(happening: Happening) -> int | None:
    return _of_answer(happening, _head)


def _of_answer(happening: Happening, value: Callable[[str], int | None]) -> int | None:
    event = happening.event
    if event.status == ERROR or event.signs & QUIET:
        return 0
    if happening.result:
        return value(happening.result)
    return None if happening.lacks_texts else 0


def _head(text: str) -> int | None:
    head = head_of(text)
    return None if head is None else hash(head) or 1


def _repeats(row: Sequence[Happening], least: int, alike: float) -> bool:
    written = [one for one in row if len(one.answered) >= MIN_OUTPUT or one.lacks_texts]
    if len(written) < least:
        return False
    if len(written) > COMPARED or any(one.lacks_texts for one in written):
        return True
    if max(Counter(one.event.result_hash for one in written).values()) >= least:
        return True
    sketches = [words_of_output(one.answered) for one in written]
    return any(sum(similarity(sketch, other) >= alike for other in sketches) >= least for sketch in sketches)
