"""Outlines and graphs of runs made by hand; those of captured runs are asked of the API."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

from mappers.graph import AGENT, MODEL, START, TOOL, graph
from mappers.model import Kind, Status
from mappers.outline import Node, Outline, outline


def node(span_id: str, parent: str = "", at: int = 0, **fields: Any) -> Node:
    told: dict[str, Any] = {
        "seq": 0,
        "kind": Kind.OTHER,
        "name": "step",
        "start_ns": at,
        "end_ns": at + 10,
        "status": Status.OK,
        "agent": "",
        "model": "",
        "tool": "",
        "tokens": None,
        "cost_usd": None,
        "is_setup": False,
        "duplicate_of": "",
        "handoff_from": "",
        "handoff_to": "",
        "handoff_source": "",
    }
    return Node(span_id=span_id, parent_span_id=parent, **(told | fields))


def shown(nodes: list[Node], **how: Any) -> Outline:
    random.Random(7).shuffle(nodes)
    found = outline(nodes, **({"limit": 1000} | how))
    assert found is not None
    return found


def ids(found: Outline) -> list[str]:
    return [line.node.id for line in found.lines]


def turns(many: int) -> list[Node]:
    """An agent that asks a model and a tool in turn."""
    found = [node("root", kind=Kind.AGENT, agent="planner")]
    for turn in range(many):
        at, price = 10 * turn, Decimal("0.5")
        call = {"kind": Kind.LLM, "model": "gpt-4o", "tokens": 10, "cost_usd": price}
        found.append(node(f"m{turn}", "root", at + 1, **call))
        found.append(node(f"t{turn}", "root", at + 5, kind=Kind.TOOL, tool="search"))
    return found


def test_parents_come_before_their_children_and_siblings_by_time() -> None:
    nodes = [
        node("c", "a", 3),
        node("a", at=1),
        node("b", "a", 2),
        node("d", "b", 9),
        node("lost", "gone", 5),
    ]
    found = shown(nodes)
    assert ids(found) == ["a", "b", "d", "c", "lost"]
    assert [line.parent for line in found.lines] == [None, 0, 1, 0, None]
    assert [line.depth for line in found.lines] == [0, 1, 2, 1, 0]
    assert [line.below for line in found.lines] == [3, 1, 0, 0, 0]
    assert (found.total, found.truncated) == (5, False)


def test_a_subtree_and_the_levels_that_are_shown_can_be_chosen() -> None:
    nodes = [node("a"), node("b", "a", 1), node("c", "b", 2), node("d", "c", 3)]
    found = shown(nodes, subtree="b", depth=2)
    assert ids(found) == ["b", "c"]
    assert [line.below for line in found.lines] == [2, 1]
    assert found.total == 3
    assert outline(nodes, subtree="x", limit=10) is None


def test_what_repeats_is_folded_and_added_up() -> None:
    found = shown(turns(6), collapse=5)
    assert ids(found) == ["root", "m0", "t0"]
    (fold,) = found.folds
    assert (fold.at, fold.pattern, fold.times, fold.hidden, fold.last_id) == (1, 2, 6, 10, "t5")
    assert (fold.tokens, fold.cost_usd, fold.end_ns) == (60, Decimal(3), 65)
    assert shown(turns(4), collapse=5).folds == []
    assert shown(turns(6)).folds == []


def test_a_failure_is_not_folded_away() -> None:
    nodes = [node("root"), *(node(f"t{n}", "root", n, kind=Kind.TOOL, tool="search") for n in range(1, 12))]
    nodes[6] = nodes[6]._replace(status=Status.ERROR)
    found = shown(nodes, collapse=5)
    assert ids(found) == ["root", "t1", "t6", "t7"]
    assert [fold.times for fold in found.folds] == [5, 5]


def test_what_repeats_with_all_that_is_below_it_is_folded_too() -> None:
    nodes = [node("root")]
    for n in range(1, 8):
        nodes.append(node(f"turn{n}", "root", 10 * n, kind=Kind.AGENT))
        nodes.append(node(f"call{n}", f"turn{n}", 10 * n + 1, kind=Kind.LLM, tokens=5))
        nodes.append(
            node(f"twin{n}", f"call{n}", 10 * n + 1, kind=Kind.LLM, tokens=5, duplicate_of=f"call{n}")
        )
    found = shown(nodes, collapse=3)
    assert ids(found) == ["root", "turn1", "call1", "twin1"]
    (fold,) = found.folds
    assert (fold.pattern, fold.times, fold.hidden, fold.tokens) == (1, 7, 18, 35)
    one_more = shown([*nodes, node("more", "turn4", 44)], collapse=3)
    assert [line.node.id for line in one_more.lines if line.depth == 1] == ["turn1", "turn4", "turn5"]


def test_the_limit_keeps_what_comes_first_and_says_so() -> None:
    found = shown(turns(3), limit=4)
    assert ids(found) == ["root", "m0", "t0", "m1"]
    assert (found.total, found.truncated) == (7, True)
    cut = shown(turns(6), collapse=5, limit=2)
    assert (ids(cut), cut.folds, cut.truncated) == (["root", "m0"], [], True)


def test_rings_of_parents_end() -> None:
    nodes = [
        node("a", "c", 1),
        node("b", "a", 2),
        node("c", "b", 3),
        node("d", "b", 0),
        node("self", "self", 9),
    ]
    assert ids(shown(nodes)) == ["a", "b", "d", "c", "self"]


def test_many_spans_deep_or_wide_or_in_rings_are_no_harder() -> None:
    many = 20_000
    deep = [node(str(n), str(n - 1), n) for n in range(many)]
    wide = [node("root"), *(node(str(n), "root", n, name=str(n % 7)) for n in range(many))]
    ring = [node("a", "b", many), node("b", "a", many), *(node(str(n), "a", n) for n in range(many))]
    for nodes in (deep, wide, ring):
        assert shown(nodes, limit=50_000).total == len(nodes)


def test_a_graph_counts_who_calls_whom_and_what_follows_what() -> None:
    nodes = [
        *turns(3),
        node("twin", "m0", 2, kind=Kind.LLM, model="gpt-4o", tokens=10, duplicate_of="m0"),
        node("inner", "root", 40, kind=Kind.AGENT, agent="planner"),
        node("t", "inner", 41, kind=Kind.TOOL, tool="mail", status=Status.ERROR),
        node("h", "root", 50, kind=Kind.HANDOFF, handoff_source="tool_span", handoff_to="writer"),
        node("w", "root", 60, kind=Kind.AGENT, agent="writer"),
    ]
    found = graph(nodes)
    planner, model = (AGENT, "planner"), (MODEL, "gpt-4o")
    search, mail, writer = (TOOL, "search"), (TOOL, "mail"), (AGENT, "writer")
    assert set(found.vertices) == {START, planner, model, search, mail, writer}
    counts = {edge: work.count for edge, work in found.edges.items()}
    assert counts == {
        (START, planner, "calls"): 1,
        (planner, model, "calls"): 3,
        (planner, search, "calls"): 3,
        (search, search, "then"): 2,
        (planner, mail, "calls"): 1,
        (search, mail, "then"): 1,
        (planner, writer, "handoff"): 1,
        (planner, writer, "calls"): 1,
    }
    assert found.vertices[model].tokens == 30
    assert (found.vertices[model].cost_usd, found.vertices[search].cost_usd) == (Decimal("1.5"), None)
    assert found.edges[search, mail, "then"].errors == 1


def test_a_run_without_agents_calls_by_itself() -> None:
    found = graph([node("a", kind=Kind.LLM, model="o3"), node("b", at=1, kind=Kind.TOOL, tool="search")])
    assert set(found.edges) == {(START, (MODEL, "o3"), "calls"), (START, (TOOL, "search"), "calls")}
