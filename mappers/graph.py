"""Who does what after whom: agents, models and tools of a run, and how often it goes from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from mappers.model import Kind, Status
from mappers.outline import Node, Outline, outline
from mappers.tree import MODEL_KINDS

RUN = "run"
AGENT = "agent"
MODEL = "model"
TOOL = "tool"
Vertex = tuple[str, str]
"""(type, name)."""
START: Vertex = (RUN, "")
"""Where everything begins."""


@dataclass(slots=True)
class Work:
    """What came together at one vertex, or on one edge. Twins count once."""

    count: int = 0
    errors: int = 0
    tokens: int | None = None
    cost_usd: Decimal | None = None
    duration_ns: int = 0

    def add(self, node: Node) -> None:
        self.count += 1
        self.errors += node.status == Status.ERROR
        self.duration_ns += max(0, node.end_ns - node.start_ns) if node.status != Status.RUNNING else 0
        if node.kind in MODEL_KINDS:
            if node.tokens is not None:
                self.tokens = (self.tokens or 0) + node.tokens
            if node.cost_usd is not None:
                self.cost_usd = (self.cost_usd or Decimal()) + node.cost_usd


@dataclass(slots=True)
class Graph:
    vertices: dict[Vertex, Work] = field(default_factory=dict)
    edges: dict[tuple[Vertex, Vertex, str], Work] = field(default_factory=dict)
    """By (from, to, type). `calls`: an agent, or the run, runs an agent, a model or a tool. `then`: one tool after
    another, both of one agent. `handoff`: one agent gives the conversation to another."""

    def edge(self, source: Vertex, target: Vertex, kind: str) -> Work:
        """The edge, made if it is not there yet."""
        return self.edges.setdefault((source, target, kind), Work())


def graph(nodes: Sequence[Node]) -> Graph:
    """The graph of a run's settled events."""
    placed = outline(nodes, limit=len(nodes))
    assert placed is not None  # only a subtree may be missing
    found = Graph({START: Work()})
    # In the outline parents come first, in a graph what came first.
    told = sorted(
        zip(placed.lines, _agents_above(placed), strict=True),
        key=lambda one: (one[0].node.start_ns, one[0].node.id),
    )
    last_tool: dict[Vertex, Vertex] = {}
    for line, above in told:
        node = line.node
        if node.duplicate_of or node.is_setup:
            continue
        if node.handoff_source:
            _add_handoff(found, node, above)
        vertex = _vertex(node)
        if (
            vertex is None or vertex == above
        ):  # an agent's turn may be told by several spans, one within the other
            continue
        if node.agent and vertex[0] != AGENT:
            above = AGENT, node.agent
        found.vertices.setdefault(above, Work())
        found.vertices.setdefault(vertex, Work()).add(node)
        found.edge(above, vertex, "calls").add(node)
        if vertex[0] == TOOL:
            if above in last_tool:
                found.edge(last_tool[above], vertex, "then").add(node)
            last_tool[above] = vertex
    return found


def _agents_above(placed: Outline) -> list[Vertex]:
    """The nearest agent above each line; the run where there is none."""
    above: list[Vertex] = []
    for line in placed.lines:
        if line.parent is None:
            above.append(START)
            continue
        parent = placed.lines[line.parent].node
        above.append(_agent(parent) if parent.kind == Kind.AGENT else above[line.parent])
    return above


def _agent(node: Node) -> Vertex:
    return AGENT, node.agent or node.name


def _vertex(node: Node) -> Vertex | None:
    if node.kind == Kind.AGENT:
        return _agent(node)
    if node.kind in MODEL_KINDS:
        return MODEL, node.model
    return (TOOL, node.tool or node.name) if node.kind in (Kind.TOOL, Kind.RETRIEVER) else None


def _add_handoff(found: Graph, node: Node, above: Vertex) -> None:
    source = (AGENT, node.handoff_from) if node.handoff_from else above
    target = (AGENT, node.handoff_to)
    for vertex in (source, target):
        found.vertices.setdefault(vertex, Work())
    work = found.edge(source, target, "handoff")
    work.count += 1
    work.errors += node.kind == Kind.HANDOFF and node.status == Status.ERROR
