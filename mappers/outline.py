"""A run's spans as an outline: parents before children, siblings by time, repetitions folded.

It is made of what a waterfall shows and nothing more, so that a run of fifty thousand spans is one small answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from mappers.tree import MODEL_KINDS

LONGEST_PATTERN = 4
"""Siblings that may repeat together: a model call, a tool call, a model call, … is a pattern of two."""


def node_id(span_id: str, seq: int) -> str:
    """How the tree names an event; unique within its run."""
    return f"{span_id}.{seq}" if seq else span_id


class Node(NamedTuple):
    """What an outline knows of an event. Times in ns, `end_ns` only counts if it is not running."""

    span_id: str
    seq: int
    parent_span_id: str
    kind: str
    name: str
    start_ns: int
    end_ns: int
    status: str
    agent: str
    model: str
    tool: str
    tokens: int | None
    cost_usd: Decimal | None
    is_setup: bool
    duplicate_of: str
    handoff_from: str
    handoff_to: str
    handoff_source: str
    ttft_ms: float | None = None
    """Of a model call: from its start to the first token."""
    same: int = 0
    """Equal for events that did the same with the same content, 0 where that is not known: a hash."""

    @property
    def id(self) -> str:
        """Unique within the run."""
        return node_id(self.span_id, self.seq)


@dataclass(slots=True)
class Line:
    """A node in its place."""

    node: Node
    parent: int | None
    """Place of its parent's line; None at the top."""
    depth: int
    below: int
    """How many nodes lie below it, shown or not."""


@dataclass(slots=True)
class Fold:
    """Siblings that look alike, with all that is below them, one after the other. The first `pattern` of them are
    shown, beginning at the line `at`."""

    at: int
    pattern: int
    times: int
    """How often the pattern comes, the shown time included."""
    hidden: int
    """Nodes that are not shown."""
    last_id: str
    end_ns: int
    tokens: int | None
    cost_usd: Decimal | None
    """Sums over all model calls in it, twins counted once; None if nobody told any."""


@dataclass(slots=True)
class Outline:
    lines: list[Line] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)
    total: int = 0
    """Nodes of the run, or of the subtree."""
    truncated: bool = False
    """There are more lines than were asked for."""


def outline(
    nodes: Sequence[Node], *, subtree: str = "", depth: int | None = None, collapse: int = 0, limit: int
) -> Outline | None:
    """The outline of a run; None if it has no node `subtree`.

    Args:
        subtree: id of the node to begin at; "" for the whole run.
        depth: levels that are shown; None for all.
        collapse: siblings that come at least so often one after the other are folded; 0 folds nothing.
        limit: most lines.
    """
    return _Outliner(nodes, depth, collapse, limit).outlined(subtree)


class _Outliner:
    def __init__(self, nodes: Sequence[Node], depth: int | None, collapse: int, limit: int) -> None:
        self._depth, self._collapse, self._limit = depth, collapse, limit
        self._nodes = sorted(nodes, key=lambda node: (node.start_ns, node.span_id, node.seq))
        self._tops, self._children = _placed(self._nodes)
        self._below = _below(self._tops, self._children)
        self._signs = self._signatures() if collapse else []
        self._found = Outline()

    def outlined(self, subtree: str) -> Outline | None:
        tops = self._tops
        if subtree:
            tops = [place for place, node in enumerate(self._nodes) if node.id == subtree]
            if not tops:
                return None
        self._found.total = sum(self._below[place] + 1 for place in tops)
        # (the siblings that are left, place of their parent's line, their depth)
        open_levels: list[tuple[Iterator[int], int | None, int]] = [(self._siblings(tops), None, 0)]
        while open_levels:
            siblings, parent, depth = open_levels[-1]
            place = next(siblings, None)
            if place is None:
                open_levels.pop()
                continue
            if len(self._found.lines) == self._limit:
                self._found.truncated = True
                break
            here = len(self._found.lines)
            self._found.lines.append(Line(self._nodes[place], parent, depth, self._below[place]))
            if self._children[place] and (self._depth is None or depth + 1 < self._depth):
                open_levels.append((self._siblings(self._children[place]), here, depth + 1))
        # A pattern that the limit cut through is not shown whole, and so can not stand for its repetitions.
        count = len(self._found.lines)
        self._found.folds = [fold for fold in self._found.folds if fold.at + fold.pattern <= count]
        return self._found

    def _siblings(self, places: Sequence[int]) -> Iterator[int]:
        """Those that are shown. What is folded is told when its first line is about to be written."""
        signs = [self._signs[place] for place in places] if self._collapse else []
        at = 0
        while at < len(places):
            pattern, times = _repetition(signs, at, self._collapse) if self._collapse else (1, 1)
            if times > 1:
                whole = places[at : at + pattern * times]
                self._found.folds.append(self._fold(whole, pattern, times))
                yield from whole[:pattern]
            else:
                yield places[at]
            at += pattern * times

    def _fold(self, places: Sequence[int], pattern: int, times: int) -> Fold:
        counted = [
            node
            for place in _walk(places, self._children)
            if not (node := self._nodes[place]).duplicate_of and node.kind in MODEL_KINDS
        ]
        tokens = [node.tokens for node in counted if node.tokens is not None]
        costs = [node.cost_usd for node in counted if node.cost_usd is not None]
        return Fold(
            at=len(self._found.lines),
            pattern=pattern,
            times=times,
            hidden=sum(self._below[place] + 1 for place in places[pattern:]),
            last_id=self._nodes[places[-1]].id,
            end_ns=max(self._nodes[place].end_ns for place in places),
            tokens=sum(tokens) if tokens else None,
            cost_usd=sum(costs, Decimal()) if costs else None,
        )

    def _signatures(self) -> list[int]:
        """Equal numbers for nodes that look alike, with all that is below them."""
        known: dict[tuple[object, ...], int] = {}
        signs = [0] * len(self._nodes)
        for place in reversed(_walk(self._tops, self._children)):
            node = self._nodes[place]
            look = (node.kind, node.name, node.status, node.agent, node.model, node.tool)
            below = tuple(signs[child] for child in self._children[place])
            signs[place] = known.setdefault((look, below), len(known))
        return signs


def _placed(nodes: Sequence[Node]) -> tuple[list[int], list[list[int]]]:
    """Places of those at the top, and of each one's children. A ring of parents is cut open above its earliest."""
    by_span: dict[str, int] = {}
    for place, node in enumerate(nodes):
        by_span.setdefault(node.span_id, place)
    above = [by_span.get(node.parent_span_id) if node.parent_span_id else None for node in nodes]
    tops: list[int] = []
    children: list[list[int]] = [[] for _ in nodes]
    for place, parent in enumerate(above):
        if parent is None:
            tops.append(place)
        else:
            children[parent].append(place)
    reached = set(_walk(tops, children))
    for place in range(len(nodes)):
        if place not in reached:  # it hangs below a ring, or is part of one
            top = _earliest_of_ring(place, above)
            children[above[top] or 0].remove(top)
            tops.append(top)
            reached.update(_walk([top], children))
    return sorted(tops), children


def _earliest_of_ring(place: int, above: Sequence[int | None]) -> int:
    """Of the ring that following the parents leads into."""
    seen: dict[int, None] = {}
    while place not in seen:
        seen[place] = None
        place = above[place] or 0  # those that have no parent are below no ring
    path = list(seen)
    return min(path[path.index(place) :])


def _walk(tops: Sequence[int], children: Sequence[Sequence[int]]) -> list[int]:
    """All at and below these, parents before children."""
    order = list(tops)
    for place in order:  # grows while it is walked
        order += children[place]
    return order


def _below(tops: Sequence[int], children: Sequence[Sequence[int]]) -> list[int]:
    """How many are below each."""
    below = [0] * len(children)
    for place in reversed(_walk(tops, children)):
        below[place] = sum(below[child] + 1 for child in children[place])
    return below


def _repetition(signs: Sequence[int], at: int, least: int) -> tuple[int, int]:
    """(length, times) of the shortest pattern that comes at least so often from there on; (1, 1) if none does."""
    for pattern in range(1, LONGEST_PATTERN + 1):
        end = at + pattern
        while end < len(signs) and signs[end] == signs[end - pattern]:
            end += 1
        times = (end - at) // pattern
        if times >= least:
            return pattern, times
    return 1, 1
