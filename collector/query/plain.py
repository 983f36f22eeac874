"""Query parameters as a filter: `model=gpt-4o*,o3&status=!failed`."""

from __future__ import annotations

from collections.abc import Sequence

from collector.query.values import compare
from sinks.filter import Condition, Either, Every, Not


def read_alternatives(name: str, values: Sequence[str]) -> Condition:
    """The values of one parameter: one must fit. `!` before a value says that it must not fit, `*` stands for
    anything.

    Raises:
        QueryError: the field can not have such a value.
    """
    wanted = [_compare(name, value) for value in values if not value.startswith("!")]
    unwanted = [Not(_compare(name, value[1:])) for value in values if value.startswith("!")]
    return Every([*([Either(wanted)] if wanted else []), *unwanted])


def _compare(name: str, value: str) -> Condition:
    return compare(name, "=", value, pattern=True)
