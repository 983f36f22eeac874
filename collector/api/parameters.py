"""Query parameters: how a route declares them, and how a request's are read by that, strictly. What is unknown,
repeated or out of range is a 400 that says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from collector.api.problems import Problem, invalid
from collector.times import nanoseconds

_RELATIVE = re.compile(r"-(\d{1,12})([smhdw])")
_UNIT_NS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

ATTRIBUTES = "attr.*"
"""Name of a parameter that stands for all that begin like this."""


class Type(StrEnum):
    """How a parameter's text is read."""

    TEXT = "text"
    INTEGER = "whole number"
    TIME = "time"
    """RFC 3339, or before now: `-24h`."""
    FLAG = "true or false"


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a request may say in its query, once.

    `choices` are its only values. `many`: several of them, separated by commas. `low` and `high` bound a whole
    number, `default` is what it is without being given.
    """

    name: str
    purpose: str
    type: Type = Type.TEXT
    choices: Sequence[str] = ()
    many: bool = False
    low: int | None = None
    high: int | None = None
    default: str | int | None = None


SINCE = Parameter("since", "from this time on: RFC 3339, or before now such as `-24h`", Type.TIME)
UNTIL = Parameter("until", "before this time", Type.TIME)
LIMIT = Parameter("limit", "entries of a page", Type.INTEGER, low=1, high=1000, default=50)
CURSOR = Parameter("cursor", "`page.next_cursor` of the page before; bound to its filter and order")


class Parameters:
    """What one request gives of the parameters that its route declares.

    Args:
        given: names and values, in order.
        now_ns: what relative times count from.

    Raises:
        Problem: 400, from every method, naming the parameter.
    """

    def __init__(self, given: Iterable[tuple[str, str]], declared: Sequence[Parameter], now_ns: int) -> None:
        self.now_ns = now_ns
        self._values: dict[str, str] = {}
        self._declared = {parameter.name: parameter for parameter in declared}
        unknown = []
        for name, value in given:
            if name not in self._declared and not (
                ATTRIBUTES in self._declared and name.startswith(ATTRIBUTES[:-1])
            ):
                unknown.append(name)
            elif name in self._values:
                raise invalid(name, "given more than once; separate alternatives by commas")
            else:
                self._values[name] = value
        if unknown:
            raise Problem(
                400,
                f"Unknown parameter: {', '.join(unknown)}",
                kind="invalid-parameter",
                errors=[
                    {"parameter": name, "detail": "unknown parameter", "allowed": sorted(self._declared)}
                    for name in unknown
                ],
            )
        for name in self._values:
            self._check(name)

    def _check(self, name: str) -> None:
        """What is wrong is refused whether the route looks at it this time or not."""
        declared = self._declared.get(name)
        if declared is None:
            self.text(name)
        elif declared.type is Type.INTEGER:
            self.integer(name)
        elif declared.type is Type.TIME:
            self.time_ns(name)
        elif declared.type is Type.FLAG:
            self.flag(name)
        elif declared.many:
            self.choices(name)
        elif declared.choices:
            self.choice(name)
        else:
            self.text(name)

    @classmethod
    def of_body(cls, body: Mapping[str, Any], declared: Sequence[Parameter], now_ns: int) -> Parameters:
        """The same from the members of a JSON body, whose values are texts or whole numbers."""
        for name, value in body.items():
            if isinstance(value, bool) or not isinstance(value, (str, int, dict)):
                raise invalid(name, "is neither a text nor a whole number")
        flat = [(name, value if isinstance(value, str) else str(value)) for name, value in body.items()]
        return cls(flat, declared, now_ns)

    def names(self) -> list[str]:
        """The parameters that were given."""
        return list(self._values)

    def binding(self, *apart: str) -> str:
        """What was asked for as one text, but for pages; equal for equal filters. Relative times move from page to
        page and stay as they were written."""
        left_out = {CURSOR.name, LIMIT.name, *apart}
        return "&".join(
            f"{name}={value}" for name, value in sorted(self._values.items()) if name not in left_out
        )

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None:
            default = self._declared[name].default if name in self._declared else None
            return None if default is None else str(default)
        if value == "":
            raise invalid(name, "is empty")
        return value

    def choice(self, name: str) -> str | None:
        """One of the parameter's choices."""
        value = self.text(name)
        allowed = self._declared[name].choices
        if value is not None and value not in allowed:
            raise invalid(name, f"{value!r} is not one of them", allowed)
        return value

    def choices(self, name: str) -> tuple[str, ...]:
        """Comma-separated alternatives; () if not given."""
        value = self.text(name)
        if value is None:
            return ()
        allowed = self._declared[name].choices if name in self._declared else ()
        parts = tuple(part.strip() for part in value.split(","))
        if not all(parts):
            raise invalid(name, "has an empty alternative", allowed)
        wrong = [part for part in parts if allowed and part not in allowed]
        if wrong:
            raise invalid(name, f"{wrong[0]!r} is not one of them", allowed)
        return parts

    def flag(self, name: str) -> bool:
        """`true` or `false`; false if not given."""
        value = self.text(name) or "false"
        if value not in ("true", "false"):
            raise invalid(name, f"{value!r} is neither true nor false", ("true", "false"))
        return value == "true"

    def integer(self, name: str) -> int:
        """A whole number; without a declared default it must be given."""
        declared = self._declared[name]
        value = self.text(name)
        if value is None:
            raise invalid(name, "is missing")
        if not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise invalid(name, f"{value!r} is not a whole number")
        number = int(value)
        if not (declared.low is None or declared.low <= number) or not (
            declared.high is None or number <= declared.high
        ):
            raise invalid(name, f"must be between {declared.low} and {declared.high}, not {value}")
        return number

    def time_ns(self, name: str) -> int | None:
        """An RFC 3339 time, or one before now: `-15m`, `-24h`, `-7d`. Nanoseconds since the epoch."""
        value = self.text(name)
        if value is None:
            return None
        if match := _RELATIVE.fullmatch(value):
            return max(0, self.now_ns - int(match[1]) * _UNIT_NS[match[2]] * 10**9)
        try:
            return nanoseconds(value)
        except ValueError:
            raise invalid(name, f"{value!r} is neither an RFC 3339 time nor like -24h") from None

    def window_ns(self) -> tuple[int | None, int | None]:
        """`since` and `until`, the one before the other."""
        since_ns, until_ns = self.time_ns(SINCE.name), self.time_ns(UNTIL.name)
        if since_ns is not None and until_ns is not None and since_ns >= until_ns:
            raise invalid(UNTIL.name, "must be later than since")
        return since_ns, until_ns
