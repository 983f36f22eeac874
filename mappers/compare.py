"""Two runs side by side: which step of one is which step of the other, and what is different."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mappers.messages.document import parse
from mappers.model import Event, Kind
from mappers.tree import Tree, agents_above

STEPS = frozenset(
    {Kind.LLM, Kind.TOOL, Kind.HANDOFF, Kind.EMBEDDING, Kind.RETRIEVER, Kind.RERANKER, Kind.GUARDRAIL}
)
"""Kinds of events that are steps; what is around them repeats what is in them."""
MOST_STEPS = 10_000
"""Steps of a run that are looked at."""
MOST_CHANGES = 50
"""Changes in one document that are told."""
MAX_DEPTH = 50
"""Values within values that are looked into; deeper ones are different as a whole."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a run did."""

    event: Event
    agent: str
    role: str
    """The agent by which it is known: the one that takes over, else the one that acts; as the other run names it."""

    @property
    def label(self) -> tuple[str, str]:
        """What steps must share to be held against each other: whose call, or of what."""
        event = self.event
        match event.kind:
            case Kind.TOOL:
                return event.kind, event.tool
            case Kind.HANDOFF | Kind.LLM:
                return event.kind, self.role
            case _:
                return event.kind, event.name


@dataclass(frozen=True, slots=True)
class Pair:
    """Steps that belong together; a step that the other run has not has no counterpart."""

    a: Step | None
    b: Step | None

    @property
    def differences(self) -> list[str]:
        """What is different: `step`, or of a pair `model`, `status`, `input`, `arguments`, `requests`, `output`,
        `result`, in the order in which it shows."""
        if self.a is None or self.b is None or self.a.label != self.b.label:
            return ["step"]
        return list(_differences(self.a.event, self.b.event))


def steps_of(events: Sequence[Event]) -> list[Step]:
    """The steps of a settled run in their order, twins once; at most `MOST_STEPS`."""
    tree = Tree(events)
    above = agents_above(tree)
    found: list[Step] = []
    for event in tree.events:
        if event.kind in STEPS and not event.duplicate_of:
            agent = event.agent or above.get(event.span_id, "")
            found.append(Step(event, agent, event.handoff_to if event.kind == Kind.HANDOFF else agent))
    return found[:MOST_STEPS]


def aligned(a: Sequence[Step], b: Sequence[Step], *, by_index: bool = False) -> list[Pair]:
    """All steps of both in order, paired: those of the longest sequence that both share, or by their number. An agent
    that only one run has stands for one that only the other has, in the order in which they come: whoever compares two
    versions of an agent has often given it another name."""
    names = _renamed(a, b)
    b = [replace(step, role=names[step.role]) if step.role in names else step for step in b]
    if by_index:
        longest = max(len(a), len(b))
        return [Pair(a[n] if n < len(a) else None, b[n] if n < len(b) else None) for n in range(longest)]
    pairs: list[Pair] = []
    at_a = at_b = 0
    for next_a, next_b in [*common([s.label for s in a], [s.label for s in b]), (len(a), len(b))]:
        pairs += (Pair(step, None) for step in a[at_a:next_a])
        pairs += (Pair(None, step) for step in b[at_b:next_b])
        if next_a < len(a) and next_b < len(b):
            pairs.append(Pair(a[next_a], b[next_b]))
        at_a, at_b = next_a + 1, next_b + 1
    return pairs


def _renamed(a: Sequence[Step], b: Sequence[Step]) -> dict[str, str]:
    """Agents of `b` that `a` has not, with the agents of `a` that they stand for."""
    ours, theirs = (dict.fromkeys(step.role for step in steps if step.role) for steps in (a, b))
    gone = (role for role in ours if role not in theirs)
    return dict(zip((role for role in theirs if role not in ours), gone, strict=False))


def common(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Places of a longest common subsequence, by Hyyrö's bit-parallel method: a row of the table is one integer, so
    that ten thousand steps take a second and not a minute."""
    places: dict[Hashable, int] = {}
    for place, item in enumerate(b):
        places[item] = places.get(item, 0) | 1 << place
    every = (1 << len(b)) - 1
    row = every
    rows = []
    for item in a:
        hits = row & places.get(item, 0)
        row = ((row + hits) | (row - hits)) & every
        rows.append(row)
    # In row `n`, a bit that is 0 says that the step of `b` there makes the sequence of a[: n + 1] longer.
    found = []
    at_a, at_b = len(a), len(b)
    while at_a and at_b:
        if rows[at_a - 1] >> (at_b - 1) & 1:
            at_b -= 1
            continue
        at_a -= 1
        if not at_a or rows[at_a - 1] >> (at_b - 1) & 1:
            at_b -= 1
            found.append((at_a, at_b))
    return found[::-1]


def _differences(a: Event, b: Event) -> Iterator[str]:
    if (a.response_model or a.request_model) != (b.response_model or b.request_model):
        yield "model"
    if a.kind == Kind.LLM:
        # Of the input the last message: the whole carries ids that no two runs share.
        if a.input != b.input:
            yield "input"
        if [(one.name, one.args_hash) for one in a.tool_requests] != [
            (one.name, one.args_hash) for one in b.tool_requests
        ]:
            yield "requests"
        if _differ(a.result_hash, b.result_hash):
            yield "output"
    elif a.kind in (Kind.TOOL, Kind.HANDOFF):
        if _differ(a.args_hash, b.args_hash):
            yield "arguments"
        if _differ(a.result_hash, b.result_hash):
            yield "result"
    elif _differ(a.args_hash, b.args_hash):
        yield "input"
    if (a.status, a.error_type) != (b.status, b.error_type):
        yield "status"


def _differ(a: int, b: int) -> bool:
    """0 is a hash of what was not captured, and tells nothing."""
    return a != b and a != 0 and b != 0


# --------------------------------------------------------------------------- documents


def changes(a: str, b: str) -> list[dict[str, Any]]:
    """What is different between two texts, member by member if both are JSON: `op` (add, remove, replace), `path` (a
    JSON pointer), and the values `a` and `b`; at most `MOST_CHANGES`."""
    left, right = parse(a), parse(b)
    if left is a or right is b:
        return [] if a == b else [{"op": "replace", "path": "", "a": a, "b": b}]
    found: list[dict[str, Any]] = []
    for change in _changes(left, right, "", 0):
        found.append(change)
        if len(found) == MOST_CHANGES:
            break
    return found


def _changes(a: Any, b: Any, path: str, depth: int) -> Iterator[dict[str, Any]]:
    deeper = depth < MAX_DEPTH
    if deeper and isinstance(a, dict) and isinstance(b, dict):
        for name in {**a, **b}:
            place = f"{path}/{str(name).replace('~', '~0').replace('/', '~1')}"
            if name not in b:
                yield {"op": "remove", "path": place, "a": a[name], "b": None}
            elif name not in a:
                yield {"op": "add", "path": place, "a": None, "b": b[name]}
            else:
                yield from _changes(a[name], b[name], place, depth + 1)
    elif deeper and isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for number, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _changes(left, right, f"{path}/{number}", depth + 1)
    elif a != b or isinstance(a, bool) != isinstance(b, bool):  # to Python, true is 1
        yield {"op": "replace", "path": path, "a": a, "b": b}
