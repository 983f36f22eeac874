"""Query parameters, read strictly: what is unknown, repeated or out of range is a 400 that says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.requests import Request

from collector.api.problems import Problem, invalid

_RELATIVE = re.compile(r"^-(\d+)([smhdw])$")
_UNIT_NS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FRACTION = re.compile(r"\.(\d+)")


class Parameters:
    """The query of one request.

    Raises:
        Problem: 400, from every method, naming the parameter.
    """

    def __init__(self, request: Request, known: Sequence[str], *, now_ns: int) -> None:
        self._values: dict[str, str] = {}
        self._now_ns = now_ns
        unknown = [name for name in request.query_params if name not in known]
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
        for name, value in request.query_params.multi_items():
            if name in self._values:
                raise invalid(name, "given more than once; separate alternatives by commas")
            self._values[name] = value

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
        if match := _RELATIVE.match(value):
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
