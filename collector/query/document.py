"""A filter as a JSON document, for programs that build one.

{"and": [{"field": "model", "op": "=", "value": "gpt-4o*"},
         {"or": [{"field": "cost", "op": ">", "value": 0.05}, {"not": {"field": "tag", "value": "test"}}]}]}
"""

from __future__ import annotations

from typing import Any

from collector.query.errors import QueryError, unknown
from collector.query.text import MAX_DEPTH, MAX_TERMS
from collector.query.values import compare
from sinks.filter import OPERATORS, Condition, Either, Every, Not

FORMS = ("and", "or", "not", "field")


def read_document(document: Any) -> Condition:
    """The filter that a document describes. `*` in a text stands for anything, unless `"exact": true`.

    Raises:
        QueryError: with the JSON pointer of the part that is wrong.
    """
    left = [MAX_TERMS]
    return _read(document, "", 0, left)


def _read(part: Any, pointer: str, depth: int, left: list[int]) -> Condition:
    left[0] -= 1
    if depth > MAX_DEPTH or left[0] < 0:
        raise QueryError(f"more than {MAX_TERMS} parts, or nested deeper than {MAX_DEPTH}", pointer=pointer)
    if not isinstance(part, dict):
        raise QueryError("a filter is an object", pointer=pointer, allowed=FORMS)
    form = next((name for name in FORMS if name in part), None)
    if form is None:
        raise QueryError("a filter has one of these members", pointer=pointer, allowed=FORMS)
    if form == "field":
        return _compare(part, pointer)
    if len(part) > 1:
        raise QueryError(f"{form!r} stands alone", pointer=pointer)
    inner = part[form]
    if form == "not":
        return Not(_read(inner, f"{pointer}/not", depth + 1, left))
    if not isinstance(inner, list) or not inner:
        raise QueryError(f"{form!r} holds a list of filters", pointer=f"{pointer}/{form}")
    parts = [_read(one, f"{pointer}/{form}/{place}", depth + 1, left) for place, one in enumerate(inner)]
    return Every(parts) if form == "and" else Either(parts)


def _compare(part: dict[str, Any], pointer: str) -> Condition:
    members = ("field", "op", "value", "exact")
    for name in part:
        if name not in members:
            raise QueryError(unknown("member", name, members), pointer=f"{pointer}/{name}", allowed=members)
    field, operator, value = part["field"], part.get("op", "="), part.get("value")
    if not isinstance(field, str):
        raise QueryError("a field's name is text", pointer=f"{pointer}/field")
    if not isinstance(operator, str):
        raise QueryError("an operator is text", pointer=f"{pointer}/op", allowed=OPERATORS)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise QueryError("a value is a text or a number", pointer=f"{pointer}/value")
    try:
        return compare(field, operator, value, pattern=part.get("exact") is not True)
    except QueryError as error:
        raise QueryError(error.detail, pointer=pointer, allowed=error.allowed) from None
