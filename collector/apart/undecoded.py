"""Spans that were mapped elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from mappers.model import Event, Span
from sinks.base import RunKey


class Undecoded(Sequence[Span]):
    """Nobody has needed them here so far: they are decoded once somebody asks for one.

    Args:
        events: one for each.
    """

    def __init__(self, events: Sequence[Event], decode: Callable[[], Sequence[Span]]) -> None:
        self._events = events
        self._decode = decode
        self._spans: Sequence[Span] | None = None

    @property
    def keys(self) -> Iterator[RunKey]:
        """Of the run of each."""
        return ((event.tenant, event.trace_id) for event in self._events)

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, place: int) -> Span: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Span]: ...

    def __getitem__(self, place: int | slice) -> Span | Sequence[Span]:
        return self._all()[place]

    def __iter__(self) -> Iterator[Span]:
        return iter(self._all())

    def _all(self) -> Sequence[Span]:
        if self._spans is None:
            self._spans = self._decode()
        return self._spans
