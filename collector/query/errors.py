"""What is wrong with a query, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class QueryError(ValueError):
    """A query that can not be understood.

    Args:
        at: place of the offending character in a search text, counted from 0; None where the text has no part in it.
        pointer: place in a JSON document as a JSON pointer, "" in other forms.
        allowed: what could stand there, if that is a short list.
    """

    def __init__(
        self, detail: str, *, at: int | None = None, pointer: str = "", allowed: Iterable[str] = ()
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.at = at
        self.pointer = pointer
        self.allowed = tuple(allowed)


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """A sentence that names what is not known, with the nearest name that is."""
    near = get_close_matches(given, list(known), 1, 0.6)
    return f"unknown {what} {given!r}" + (f"; did you mean {near[0]!r}?" if near else "")
