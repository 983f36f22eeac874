"""A JSON filter means what the search text means, and errors point into the document."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.query import QueryError, read_alternatives, read_document, read_text
from sinks.filter import Compare, Either, Every, Not


def test_the_three_ways_of_asking_mean_the_same() -> None:
    document = {
        "and": [
            {"or": [{"field": "model", "value": "gpt-4o*"}, {"field": "model", "value": "o3"}]},
            {"not": {"field": "status", "op": "=", "value": "failed"}},
            {"field": "dur", "op": ">", "value": "30s"},
        ]
    }
    text = read_text("model:gpt-4o*,o3 -status:failed dur>30s")
    assert read_document(document) == text
    plain = Every(
        [
            Either([Compare("model", "=", "gpt-4o*", pattern=True), Compare("model", "=", "o3")]),
            Not(Compare("status", "=", "failed")),
        ]
    )
    assert isinstance(text, Every)
    assert read_alternatives("model", ["gpt-4o*", "o3"]) == Every([plain.parts[0]])
    assert read_alternatives("status", ["!failed"]) == Every([plain.parts[1]])


def test_exact_takes_a_star_as_it_is() -> None:
    assert read_document({"field": "name", "value": "a*", "exact": True}) == Compare("name", "=", "a*")


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ({}, ""),
        ({"and": []}, "/and"),
        ({"and": [], "or": []}, ""),
        ({"or": [{"field": "model", "value": "x"}, {"field": "modle", "value": "x"}]}, "/or/1"),
        ({"not": {"field": "cost", "op": "~", "value": 1}}, "/not"),
        ({"not": {"field": "cost", "op": 1, "value": 1}}, "/not/op"),
        ({"field": "cost", "op": ">", "value": None}, "/value"),
        ({"field": "cost", "op": ">", "value": True}, "/value"),
        ({"field": 7, "value": "x"}, "/field"),
        ({"field": "model", "value": "x", "vlaue": "y"}, "/vlaue"),
    ],
)
def test_an_error_points_at_its_part(document: Any, pointer: str) -> None:
    with pytest.raises(QueryError) as raised:
        read_document(document)
    assert raised.value.pointer == pointer


def test_a_document_can_not_be_too_deep() -> None:
    document: Any = {"field": "model", "value": "x"}
    for _ in range(1_000):
        document = {"not": document}
    with pytest.raises(QueryError, match="nested deeper"):
        read_document(document)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["and", "or", "not", "field", "op", "value", "x"]), inner, max_size=3
        )
    ),
)


@given(_json)
def test_any_document_is_a_filter_or_an_error(document: Any) -> None:
    with contextlib.suppress(QueryError):
        read_document(document)
