"""Alignment of runs and differences of documents, by hand; captured runs are compared through the API."""

from __future__ import annotations

import random
from functools import cache

import pytest

from mappers.compare import MAX_DEPTH, MOST_CHANGES, Step, aligned, changes, steps_of
from mappers.model import Event, Kind


def tools(names: str, **fields: int) -> list[Step]:
    """A step for each letter."""
    events = [
        Event(
            run_id="r",
            span_id=f"{place:016x}",
            kind=Kind.TOOL,
            tool=name,
            start_ns=place,
            end_ns=place,
            **fields,
        )
        for place, name in enumerate(names, 1)
    ]
    return steps_of(events)


def shown(a: str, b: str, *, by_index: bool = False) -> str:
    pairs = aligned(tools(a), tools(b), by_index=by_index)
    return " ".join(
        f"{pair.a.event.tool if pair.a else '-'}{pair.b.event.tool if pair.b else '-'}" for pair in pairs
    )


def longest(a: str, b: str) -> int:
    @cache
    def of(m: int, n: int) -> int:
        if not m or not n:
            return 0
        if a[m - 1] == b[n - 1]:
            return of(m - 1, n - 1) + 1
        return max(of(m - 1, n), of(m, n - 1))

    return of(len(a), len(b))


def test_steps_that_both_runs_share_are_paired() -> None:
    assert shown("abcd", "abcd") == "aa bb cc dd"
    assert shown("abd", "abcd") == "aa bb -c dd"
    assert shown("xabc", "abc") == "x- aa bb cc"
    assert shown("", "ab") == "-a -b"
    assert shown("abd", "abcd", by_index=True) == "aa bb dc -d"


def test_the_longest_shared_sequence_is_found_and_no_step_is_lost() -> None:
    chance = random.Random(5)
    for _ in range(300):
        a, b = ("".join(chance.choices("abc", k=chance.randrange(10))) for _ in range(2))
        pairs = aligned(tools(a), tools(b))
        assert [pair.a.event.tool for pair in pairs if pair.a] == list(a)
        assert [pair.b.event.tool for pair in pairs if pair.b] == list(b)
        matched = [pair for pair in pairs if pair.a and pair.b]
        assert all("step" not in pair.differences for pair in matched)
        assert len(matched) == longest(a, b)


def calls(agents: str) -> list[Step]:
    """A model call for each letter, which is its agent's name."""
    return steps_of(
        [
            Event(run_id="r", span_id=f"{n:016x}", kind=Kind.LLM, agent=name, start_ns=n, end_ns=n)
            for n, name in enumerate(agents, 1)
        ]
    )


@pytest.mark.parametrize(
    ("a", "b", "pairs"),
    [
        ("pwp", "pwp", "pp ww pp"),
        ("pwp", "xwx", "px ww px"),  # another name for the same agent
        ("pwp", "xyx", "px wy px"),
        ("pp", "pxp", "pp -x pp"),  # an agent more is no other name
        ("pwp", "wp", "p- ww pp"),
    ],
)
def test_an_agent_of_another_name_is_held_against_the_one_it_stands_for(a: str, b: str, pairs: str) -> None:
    found = aligned(calls(a), calls(b))
    assert " ".join(f"{x.a.agent if x.a else '-'}{x.b.agent if x.b else '-'}" for x in found) == pairs
    assert all(not pair.differences for pair in found if pair.a and pair.b)


def test_what_was_not_captured_is_no_difference() -> None:
    (same,) = aligned(tools("a", args_hash=1), tools("a", args_hash=0))
    (other,) = aligned(tools("a", args_hash=1, result_hash=3), tools("a", args_hash=2, result_hash=4))
    assert (same.differences, other.differences) == ([], ["arguments", "result"])


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ('{"q": "x", "n": 1}', '{"n": 1, "q": "x"}', []),
        ('{"q": "x"}', '{"q": "y"}', [("replace", "/q", "x", "y")]),
        (
            '{"q": "x", "old": 1}',
            '{"q": "x", "new/~": 2}',
            [("remove", "/old", 1, None), ("add", "/new~1~0", None, 2)],
        ),
        ('{"a": [1, 2]}', '{"a": [1, 3]}', [("replace", "/a/1", 2, 3)]),
        ('{"a": [1]}', '{"a": [1, 3]}', [("replace", "/a", [1], [1, 3])]),
        ('{"a": 1}', '{"a": true}', [("replace", "/a", 1, True)]),
        ("Paris", "Rome", [("replace", "", "Paris", "Rome")]),
        ("Paris", '{"city": "Paris"}', [("replace", "", "Paris", '{"city": "Paris"}')]),
    ],
)
def test_documents_are_compared_member_by_member(a: str, b: str, found: list[tuple[object, ...]]) -> None:
    assert [(one["op"], one["path"], one["a"], one["b"]) for one in changes(a, b)] == found


def test_many_and_deep_differences_end() -> None:
    wide = ["{" + ", ".join(f'"{n}": {value}' for n in range(200)) + "}" for value in (1, 2)]
    assert len(changes(*wide)) == MOST_CHANGES
    deep = ['{"x": ' * 400 + value + "}" * 400 for value in ("1", "2")]
    (change,) = changes(*deep)
    assert change["path"] == "/x" * MAX_DEPTH
