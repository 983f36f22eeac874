"""Values as people write them, checked against the field that they are compared with."""

from __future__ import annotations

import math
import re

from collector.query.errors import QueryError, unknown
from sinks.filter import ATTRIBUTE_PREFIX, FIELDS, NUMERIC, OPERATORS, Compare, Type, field_of

ALIASES = {
    "env": "environment",
    "dur": "duration",
    "duration_ms": "duration",
    "warn": "warning",
    "cost_usd": "cost",
    "session_id": "session",
    "user_id": "user",
    "run_id": "id",
}
"""Other words for fields."""

_NUMBER = re.compile(r"\$?(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([a-z%]*)", re.IGNORECASE)
_UNITS: dict[Type, dict[str, float]] = {
    Type.NUMBER: {"": 1, "k": 1e3, "m": 1e6},
    Type.MONEY: {"": 1, "usd": 1},
    Type.DURATION: {"": 1, "ms": 1, "s": 1e3, "m": 6e4, "min": 6e4, "h": 3.6e6},
}
"""Units by type; a duration without one is in milliseconds."""


def canonical(name: str) -> str:
    """The name of the field that is meant.

    Raises:
        QueryError: there is no such field.
    """
    name = ALIASES.get(name, name)
    if field_of(name) is None:
        raise QueryError(
            unknown("field", name, [*FIELDS, *ALIASES]), allowed=[*FIELDS, f"{ATTRIBUTE_PREFIX}KEY"]
        )
    return name


def compare(name: str, operator: str, value: str | float, *, pattern: bool) -> Compare:
    """A comparison, its value read as the field's type asks.

    Args:
        name: a field, or another word for one.
        pattern: whether `*` in a text stands for anything.

    Raises:
        QueryError: the field is unknown, or can not be compared so, or with that.
    """
    name = canonical(name)
    field = field_of(name)
    assert field is not None
    if operator not in OPERATORS:
        raise QueryError(unknown("operator", operator, OPERATORS), allowed=OPERATORS)
    if field.type in NUMERIC:
        if pattern and value == "*":
            return Compare(name, "=", "*", pattern=True)
        return Compare(name, operator, _number(name, field.type, value))
    if operator != "=":
        raise QueryError(f"{name} is text and can not be compared with {operator!r}", allowed=["="])
    text = str(value)
    pattern = pattern and "*" in text
    if field.choices and not pattern and text not in field.choices:
        raise QueryError(unknown(name, text, field.choices), allowed=field.choices)
    return Compare(name, "=", text, pattern=pattern)


def _number(name: str, kind: Type, value: str | float) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise QueryError(f"{name} is compared with a number")
    if not isinstance(value, str):
        number = float(value)
    else:
        units = _UNITS[kind]
        match = _NUMBER.fullmatch(value.strip())
        if match is None:
            raise QueryError(f"{name} is compared with a number, and {value!r} is none")
        if match[2].lower() not in units:
            raise QueryError(
                f"{match[2]!r} is no unit of {name}", allowed=[unit for unit in units if unit] or ["none"]
            )
        number = float(match[1]) * units[match[2].lower()]
    if not math.isfinite(number):
        raise QueryError(f"{name} is compared with a finite number")
    return number
