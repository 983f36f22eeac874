"""Events there and back by columns."""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from dataclasses import fields
from decimal import Decimal
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.apart.columns import UnfitError, read, written
from mappers.model import Document, Event, Kind, Status, ToolRequest
from tests.collector.apart.likeness import likeness

TEXTS = st.text(st.characters(), max_size=6) | st.just("\ud800")
NUMBERS = st.integers(-(2**70), 2**70)
REQUESTS = st.builds(ToolRequest, TEXTS, TEXTS, NUMBERS)
DOCUMENTS = st.builds(Document, TEXTS, st.none() | st.floats(allow_nan=False))

BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: NUMBERS,
    bool: st.booleans(),
    int | None: st.none() | NUMBERS,
    bool | None: st.none() | st.booleans(),
    float | None: st.none() | st.floats(allow_nan=False),
    Decimal | None: st.none() | st.decimals(allow_nan=False, allow_infinity=False),
}
SEVERAL: dict[Any, st.SearchStrategy[Any]] = {str: TEXTS, ToolRequest: REQUESTS, Document: DOCUMENTS}
BY_NAME = {
    "kind": st.sampled_from(Kind) | TEXTS,
    "status": st.sampled_from(Status),
    "metadata": st.dictionaries(TEXTS, TEXTS, max_size=2),
    "parameters": st.dictionaries(TEXTS, TEXTS, max_size=2),
}


def values(name: str, annotation: Any) -> st.SearchStrategy[Any]:
    """Of a field. A field of a type that is not known here needs a form of its own in `columns`."""
    if name in BY_NAME:
        return BY_NAME[name]
    if getattr(annotation, "__origin__", None) is Sequence:
        some = st.lists(SEVERAL[annotation.__args__[0]], max_size=2)
        return some | some.map(tuple)
    return BY_TYPE[annotation]


HINTS = get_type_hints(Event)
FIELDS = [field.name for field in fields(Event)]


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    """Events that differ in a few fields, as those of one batch do."""
    told = draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=8))
    return [
        Event(
            **{name: draw(values(name, HINTS[name])) for name in dict.fromkeys(("run_id", "span_id", *told))}
        )
        for _ in range(draw(st.integers(0, 3)))
    ]


@settings(max_examples=150, deadline=None)
@given(events())
def test_events_are_the_same_again(given_events: list[Event]) -> None:
    columns = marshal.loads(marshal.dumps(written(given_events)))
    assert likeness(read(columns, len(given_events))) == likeness(given_events)


@pytest.mark.parametrize("name", FIELDS)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_every_field_goes_along(name: str, data: st.DataObject) -> None:
    event = Event(**{"run_id": "r", "span_id": "s", name: data.draw(values(name, HINTS[name]))})
    columns = marshal.loads(marshal.dumps(written([event])))
    assert likeness(read(columns, 1)) == likeness([event])


def test_defaults_are_not_shared_and_not_sent() -> None:
    plain = [Event(run_id="r", span_id=str(number)) for number in range(2)]
    columns = written(plain)
    assert columns.keys() == {"run_id", "span_id"}
    one, other = read(columns, 2)
    assert one.metadata == {}
    assert one.metadata is not other.metadata


@pytest.mark.parametrize("odd", [{"kind": 7}, {"documents": [("a", None)]}, {"metadata": 3}])
def test_what_has_no_plain_form_is_not_sent(odd: dict[str, Any]) -> None:
    with pytest.raises((UnfitError, TypeError)):
        written([Event(run_id="r", span_id="s", **odd)])


@pytest.mark.parametrize(
    "columns", [{}, {"run_id": ["r"]}, {"run_id": ["r"], "span_id": []}, {"run_id": ["r"], "nonsense": ["s"]}]
)
def test_columns_of_something_else_are_refused(columns: dict[str, Any]) -> None:
    with pytest.raises((LookupError, ValueError)):
        read(columns, 1)
