"""Query parameters, read strictly: what is unknown, repeated or out of range is a 400 that says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from collector.api.problems import Problem, invalid

_RELATIVE = re.compile(r"-(\d{1,12})([smhdw])")
_UNIT_NS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FRACTION = re.compile(r"\.(\d+)")

ATTRIBUTES = "attr.*"
"""Among the known parameters: any that begins like this."""


class Parameters:
    """The query of one request.

    Raises:
        Problem: 400, from every method, naming the parameter.
    """

    def __init__(self, request: Request, known: Sequence[str], *, now_ns: int) -> None:
        self._fill(request.query_params.multi_items(), known, now_ns)

    @classmethod
    def of_body(cls, body: Mapping[str, Any], known: Sequence[str], *, now_ns: int) -> Parameters:
        """The same from the members of a JSON body, whose values are texts or whole numbers."""
        for name, value in body.items():
            if isinstance(value, bool) or not isinstance(value, (str, int, dict)):
                raise invalid(name, "is neither a text nor a whole number")
        parameters = cls.__new__(cls)
        flat = [(name, value if isinstance(value, str) else str(value)) for name, value in body.items()]
        parameters._fill(flat, known, now_ns)
        return parameters

    def _fill(self, given: Iterable[tuple[str, str]], known: Sequence[str], now_ns: int) -> None:
        self._values: dict[str, str] = {}
        self._now_ns = now_ns
        unknown = []
        for name, value in given:
            if name not in known and not (ATTRIBUTES in known and name.startswith(ATTRIBUTES[:-1])):
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
                    {"parameter": name, "detail": "unknown parameter", "allowed": sorted(known)}
                    for name in unknown
                ],
            )

    def names(self) -> list[str]:
        """The parameters that were given."""
        return list(self._values)

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value == "":
            raise invalid(name, "is empty")
        return value

    def choices(self, name: str, allowed: Sequence[str] = ()) -> tuple[str, ...]:
        """Comma-separated alternatives; () if not given."""
        value = self.text(name)
        if value is None:
            return ()
        parts = tuple(part.strip() for part in value.split(","))
        if not all(parts):
            raise invalid(name, "has an empty alternative", allowed)
        wrong = [part for part in parts if allowed and part not in allowed]
        if wrong:
            raise invalid(name, f"{wrong[0]!r} is not one of them", allowed)
        return parts

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"-?\d{1,18}", value):
            raise invalid(name, f"{value!r} is not a whole number")
        if not low <= int(value) <= high:
            raise invalid(name, f"must be between {low} and {high}, not {value}")
        return int(value)

    def time_ns(self, name: str) -> int | None:
        """An RFC 3339 time, or one before now: `-15m`, `-24h`, `-7d`. Nanoseconds since the epoch."""
        value = self.text(name)
        if value is None:
            return None
        if match := _RELATIVE.fullmatch(value):
            return max(0, self._now_ns - int(match[1]) * _UNIT_NS[match[2]] * 10**9)
        fraction = _FRACTION.search(value)
        try:
            moment = datetime.fromisoformat(_FRACTION.sub("", value))
        except ValueError:
            raise invalid(name, f"{value!r} is neither an RFC 3339 time nor like -24h") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        nanoseconds = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
        return int(moment.timestamp()) * 10**9 + nanoseconds
