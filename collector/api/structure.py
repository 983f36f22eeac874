"""How a run is built: its spans as a tree, and who calls whom as a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import RUN, Routes, RouteTable, json_response
from collector.api.declaring import Route, parameters_of
from collector.api.parameters import Parameter, Type
from collector.api.problems import Problem, invalid
from collector.documents.models import Time, described
from collector.documents.render import milliseconds, money, rfc3339
from mappers import graph as graphs
from mappers.model import Run, Status
from mappers.outline import Node, Outline, outline

MOST_NODES = 50_000
REPETITIONS = 5
"""Siblings that come so often one after the other are folded unless asked otherwise."""

FLAGS = {"duplicate": 1, "setup": 2, "handoff": 4, "warned": 8}
"""Bits of a node's `flags`."""


TREE_PARAMETERS = (
    Parameter("subtree", "id of a node; only it and what is below it"),
    Parameter("depth", "levels that are shown", Type.INTEGER, low=1, high=1000),
    Parameter(
        "collapse_repeats",
        "siblings that come at least so often are folded; 0 folds nothing",
        Type.INTEGER,
        low=0,
        high=1_000_000,
        default=REPETITIONS,
    ),
    Parameter("limit", "nodes that are shown", Type.INTEGER, low=1, high=MOST_NODES, default=MOST_NODES),
    Parameter(
        "earliest",
        "only so many nodes are looked at, those that began first: the beginning of a very long run at once",
        Type.INTEGER,
        low=1,
        high=MOST_NODES,
    ),
)


@described
class TreeColumns(TypedDict):
    """What is known of each node, one array for each field; parents come before their children."""

    id: list[str]
    parent: list[int | None]
    """Place of the parent in these arrays; null at the top."""
    depth: list[int]
    below: list[int]
    """Nodes below it, shown or not."""
    kind: list[str]
    name: list[str]
    agent: list[str | None]
    model: list[str | None]
    tool: list[str | None]
    handoff: list[str | None]
    """The agent that takes over."""
    start_us: list[int]
    """Since the run's start."""
    duration_us: list[int | None]
    """Null while it runs."""
    status: list[str]
    tokens: list[int | None]
    cost_usd: list[float | None]
    ttft_us: list[int | None]
    """From the start of a model call to its first token."""
    same: list[int]
    """Equal numbers for nodes that did the same with the same content; 0: none like it, or content is not known."""
    flags: list[int]
    """Sum of the bits that `meta.flags` names."""


@described
class FoldedNodes(TypedDict):
    """Siblings that look alike, with all that is below them: the first `pattern` of them are shown."""

    at: int
    """Place of the first in the arrays."""
    pattern: int
    times: int
    """How often the pattern comes, the shown time included."""
    hidden: int
    last_id: str
    end_us: int
    tokens: int | None
    cost_usd: float | None


@described
class TreeMeta(TypedDict):
    """How much there is, and which bit of a node's flags is what."""

    total: int
    """Nodes of the run, or of the subtree; with `earliest`, of those that were looked at."""
    shown: int
    truncated: bool
    """There are more."""
    flags: dict[str, int]


class Tree(TypedDict):
    """A run's spans without content."""

    run_id: str
    started_at: Time
    data: TreeColumns
    folded: list[FoldedNodes]
    meta: TreeMeta


@described
class Work(TypedDict):
    """What came together; twins count once."""

    count: int
    errors: int
    tokens: int | None
    cost_usd: float | None
    duration_ms: float
    """Added up, also where things ran side by side."""


@described
class GraphNode(Work):
    """The run itself, an agent, a model or a tool."""

    id: str
    type: str
    """run, agent, model or tool."""
    name: str


@described
class GraphEdge(Work):
    """How often it went from one node to another."""

    source: str
    target: str
    """Ids of nodes."""
    type: str
    """calls; then, from one tool of an agent to the next; handoff, from one agent to another."""


class RunGraph(TypedDict):
    """Who calls whom."""

    run_id: str
    nodes: list[GraphNode]
    edges: list[GraphEdge]


class StructureRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route("GET", RUN + "/tree", self.tree, Tree, parameters=TREE_PARAMETERS),
            Route("GET", RUN + "/graph", self.graph, RunGraph),
        ]

    async def tree(self, request: Request) -> Response:
        """The run's spans as a tree in columns, parents first, repetitions folded; without content."""
        parameters = parameters_of(request)
        depth = parameters.integer("depth") if parameters.text("depth") else None
        collapse, limit = parameters.integer("collapse_repeats"), parameters.integer("limit")
        subtree = (parameters.text("subtree") or "").lower()
        earliest = parameters.integer("earliest") if parameters.text("earliest") else None
        if earliest and subtree:
            raise invalid("earliest", "begins at the run's start and does not go with subtree")
        run = await self.run_of(request)
        # One more tells whether there are more.
        nodes = await self.read(self.api.reader.nodes, run, earliest and earliest + 1)
        is_part = earliest is not None and len(nodes) > earliest
        nodes = nodes[:earliest]
        warnings = await self.read(self.api.reader.warnings, run.tenant, run.run_id)
        warned = {event_id.partition(".")[0] for warning in warnings for event_id in warning.evidence}

        def answer() -> Response | None:
            found = outline(nodes, subtree=subtree, depth=depth, collapse=collapse, limit=limit)
            return None if found is None else json_response(_tree_document(run, found, warned, is_part))

        response = await self.read(answer)
        if response is None:
            raise Problem(404, f"The run has no span {subtree!r}. A span's id is 16 hex digits.")
        return response

    async def graph(self, request: Request) -> Response:
        """Agents, models and tools of the run, and how often it goes from one to the other."""
        run = await self.run_of(request)
        nodes = await self.read(self.api.reader.nodes, run)
        return json_response(_graph_document(run, await self.read(graphs.graph, nodes)))


def _tree_document(run: Run, found: Outline, warned: Collection[str], is_part: bool) -> Tree:
    nodes = [line.node for line in found.lines]
    return {
        "run_id": run.run_id,
        "started_at": rfc3339(run.start_ns),
        "data": {
            "id": [node.id for node in nodes],
            "parent": [line.parent for line in found.lines],
            "depth": [line.depth for line in found.lines],
            "below": [line.below for line in found.lines],
            "kind": [node.kind for node in nodes],
            "name": [node.name for node in nodes],
            "agent": [node.agent or None for node in nodes],
            "model": [node.model or None for node in nodes],
            "tool": [node.tool or None for node in nodes],
            "handoff": [node.handoff_to or None for node in nodes],
            "start_us": [(node.start_ns - run.start_ns) // 1000 for node in nodes],
            "duration_us": [
                None if node.status == Status.RUNNING else max(0, node.end_ns - node.start_ns) // 1000
                for node in nodes
            ],
            "status": [node.status for node in nodes],
            "tokens": [node.tokens for node in nodes],
            "cost_usd": [money(node.cost_usd) for node in nodes],
            "ttft_us": [None if node.ttft_ms is None else round(node.ttft_ms * 1000) for node in nodes],
            "same": _same(nodes),
            "flags": [_flags(node, warned) for node in nodes],
        },
        "folded": [
            {
                "at": fold.at,
                "pattern": fold.pattern,
                "times": fold.times,
                "hidden": fold.hidden,
                "last_id": fold.last_id,
                "end_us": (fold.end_ns - run.start_ns) // 1000,
                "tokens": fold.tokens,
                "cost_usd": money(fold.cost_usd),
            }
            for fold in found.folds
        ],
        "meta": {
            "total": found.total,
            "shown": len(nodes),
            "truncated": found.truncated or is_part,
            "flags": FLAGS,
        },
    }


def _same(nodes: Sequence[Node]) -> list[int]:
    """Small numbers from 1 for hashes that come more than once: JavaScript reads no 64 bits."""
    times = Counter(node.same for node in nodes)
    numbers: dict[int, int] = {}
    return [
        numbers.setdefault(node.same, len(numbers) + 1) if node.same and times[node.same] > 1 else 0
        for node in nodes
    ]


def _flags(node: Node, warned: Collection[str]) -> int:
    return (
        FLAGS["duplicate"] * bool(node.duplicate_of)
        | FLAGS["setup"] * node.is_setup
        | FLAGS["handoff"] * bool(node.handoff_source)
        | FLAGS["warned"] * (node.span_id in warned)
    )


def _graph_document(run: Run, found: graphs.Graph) -> RunGraph:
    return {
        "run_id": run.run_id,
        "nodes": [
            {"id": _vertex_id(vertex), "type": vertex[0], "name": vertex[1] or run.name, **_work(work)}
            for vertex, work in found.vertices.items()
        ],
        "edges": [
            {"source": _vertex_id(source), "target": _vertex_id(target), "type": kind, **_work(work)}
            for (source, target, kind), work in found.edges.items()
        ],
    }


def _vertex_id(vertex: graphs.Vertex) -> str:
    return f"{vertex[0]}:{vertex[1]}"


def _work(work: graphs.Work) -> Work:
    return {
        "count": work.count,
        "errors": work.errors,
        "tokens": work.tokens,
        "cost_usd": money(work.cost_usd),
        "duration_ms": milliseconds(work.duration_ns),
    }
