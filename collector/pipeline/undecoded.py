"""Spans that hardly anybody needs once they are mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from mappers.model import Event, Span
from sinks.base import RunKey


class Undecoded(Sequence[Span]):
    """They are decoded when somebody asks for one. Until then they take no memory: parsed, requests take twice their
    bytes, all the while that a batch waits for the store and is stored.

    Args:
        events: one for each.
        decode: gives the same spans in the same order.
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
