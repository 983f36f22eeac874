"""What is new in a prompt since the call before."""

from __future__ import annotations

from mappers.messages import Message, Part
from mappers.model import Kind
from mappers.prompts import call_before, changed
from tests.mappers.test_outline import node


def said(*texts: str) -> list[Message]:
    return [Message("user", (Part("text", text),)) for text in texts]


def told(before: list[Message], now: list[Message]) -> list[tuple[str, str]]:
    return [(str(one.change), one.message.text) for one in changed(before, now)]


def test_a_conversation_that_goes_on_has_new_messages_at_its_end() -> None:
    assert told(said("a", "b"), said("a", "b", "c")) == [("same", "a"), ("same", "b"), ("added", "c")]


def test_what_was_cut_out_stands_where_it_was() -> None:
    found = told(said("system", "old", "older", "last"), said("system", "summary", "last", "new"))
    assert found == [
        ("same", "system"),
        ("removed", "old"),
        ("removed", "older"),
        ("added", "summary"),
        ("same", "last"),
        ("added", "new"),
    ]
    assert told([], said("a")) == [("added", "a")]
    assert told(said("a"), []) == [("removed", "a")]


def test_the_call_before_is_that_of_the_same_agent() -> None:
    nodes = [
        node("root", kind=Kind.AGENT, agent="planner"),
        node("p1", "root", 1, kind=Kind.LLM),
        node("sub", "root", 2, kind=Kind.AGENT, agent="writer"),
        node("w1", "sub", 3, kind=Kind.LLM),
        node("twin", "sub", 4, kind=Kind.LLM, duplicate_of="w1"),
        node("t", "sub", 5, kind=Kind.TOOL),
        node("w2", "sub", 6, kind=Kind.LLM),
        node("p2", "root", 7, kind=Kind.LLM),
        node("again", "root", 8, kind=Kind.AGENT, agent="writer"),
        node("w3", "again", 9, kind=Kind.LLM),
    ]
    before = {
        one: found.id if (found := call_before(nodes, one)) else None
        for one in ("p1", "w1", "w2", "p2", "w3", "t", "x")
    }
    assert before == {"p1": None, "w1": None, "w2": "w1", "p2": "p1", "w3": "w2", "t": None, "x": None}


def test_calls_of_two_turns_side_by_side_do_not_mix() -> None:
    nodes = [
        node("one", kind=Kind.AGENT, agent="worker"),
        node("two", kind=Kind.AGENT, agent="worker"),
        node("a1", "one", 1, kind=Kind.LLM),
        node("b1", "two", 2, kind=Kind.LLM),
        node("a2", "one", 3, kind=Kind.LLM),
    ]
    found = call_before(nodes, "a2")
    assert found is not None
    assert found.id == "a1"


def test_rings_of_parents_end() -> None:
    nodes = [node("a", "b", 1, kind=Kind.LLM), node("b", "a", 2, kind=Kind.LLM)]
    found = call_before(nodes, "b")
    assert found is not None
    assert found.id == "a"
