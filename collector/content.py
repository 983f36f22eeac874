"""What events read and wrote, whole: events keep previews, spans and log records as received keep everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from collector.understanding.mapping import stored_record, stored_span
from mappers.conversation import Call
from mappers.model import Event, Kind, Run
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from mappers.tree import Tree, agents_above
from sinks.clickhouse import Reader

MOST_BYTES = 64 << 20
"""Content of calls that is read for one answer: each call repeats the conversation before it."""
BATCH_BYTES = 8 << 20
BATCH_EVENTS = 200
"""Content that is read at a time."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Content of one event in whatever shape it came; None: not captured."""

    event: Event
    read: Any
    wrote: Any


class ContentReader:
    """Reads the content of one run's events.

    Args:
        events: all of the run, settled.
    """

    def __init__(self, reader: Reader, normalizer: Normalizer, run: Run, events: Sequence[Event]) -> None:
        self._reader, self._normalizer, self._run = reader, normalizer, run
        self._records = RecordReader(normalizer)
        self._tree = Tree(events)
        self._twins: dict[str, list[str]] = {}
        for event in self._tree.events:
            if event.duplicate_of:
                self._twins.setdefault(event.duplicate_of, []).append(event.span_id)

    def whole(self, events: Iterable[Event]) -> Iterator[Whole]:
        """Content of these events, in their order. What an event's own span does not tell is taken from its twins,
        and from log records below it."""
        for batch in _batches(events):
            told_by = [[event.span_id, *self._twins.get(event.span_id, ())] for event in batch]
            span_ids = [span_id for ids in told_by for span_id in ids]
            rows = self._reader.spans_by_id(self._run, span_ids)
            records = self._of_records([span_id for span_id in span_ids if span_id in self._tree.parts])
            for event, ids in zip(batch, told_by, strict=True):
                told = [self._normalizer.content(stored_span(rows[one])) for one in ids if one in rows]
                told += [records[one] for one in ids if one in records]
                read = next((side for side, _ in told if side), None)
                yield Whole(event, read, next((side for _, side in told if side), None))

    def _of_records(self, span_ids: Sequence[str]) -> dict[str, tuple[Any, Any]]:
        """What log records say that these spans read and wrote."""
        found: dict[str, tuple[list[Any], list[Any]]] = {}
        for row in self._reader.records(self._run, span_ids) if span_ids else ():
            sides = found.setdefault(row["span_id"], ([], []))
            for side, value in zip(sides, self._records.content(stored_record(row)), strict=True):
                side += value if isinstance(value, list) else [] if value is None else [value]
        return dict(found)

    # ------------------------------------------------------------------- a conversation

    def calls(self, agent: str = "") -> list[tuple[Event, str]]:
        """What takes part in the conversation, with its agent: model calls that count, and what a coding agent's log
        records tell. Only those of one agent, if one is given."""
        above = agents_above(self._tree)
        found = []
        for event in self._tree.events:
            if event.duplicate_of or (event.kind != Kind.LLM and not _is_told_by_log(event)):
                continue
            name = event.agent or above.get(event.span_id, "")
            if agent in ("", name):
                found.append((event, name))
        return found

    def conversation(self, calls: Sequence[tuple[Event, str]]) -> Iterator[Call]:
        """These calls with their whole content; log records of coding agents with as much as events keep."""
        whole = self.whole(event for event, _ in calls if event.source != "log")
        for event, agent in calls:
            if event.source == "log":
                yield _from_log(event, agent)
            else:
                found = next(whole)
                yield Call(event, agent, found.read, found.wrote)


def affordable(calls: Sequence[tuple[Event, str]]) -> Sequence[tuple[Event, str]]:
    """The first calls, as many as may be read for one answer; one always may."""
    sizes = accumulate((event.input_bytes or 0) + (event.output_bytes or 0) for event, _ in calls)
    return calls[: sum(1 for size in sizes if size <= MOST_BYTES) or 1]


def _batches(events: Iterable[Event]) -> Iterator[list[Event]]:
    batch: list[Event] = []
    size = 0
    for event in events:
        batch.append(event)
        size += (event.input_bytes or 0) + (event.output_bytes or 0)
        if size >= BATCH_BYTES or len(batch) == BATCH_EVENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _is_told_by_log(event: Event) -> bool:
    """A prompt or a tool's result in the log of a coding agent, whose model calls carry no messages."""
    return event.source == "log" and bool(event.kind == Kind.TOOL or event.input)


def _from_log(event: Event, agent: str) -> Call:
    if event.kind != Kind.TOOL:
        return Call(event, agent, event.input or None, event.output or None)
    name, call_id = event.tool, event.tool_call_id or event.span_id
    request = {"id": call_id, "function": {"name": name, "arguments": event.input}}
    result = {"role": "tool", "tool_call_id": call_id, "name": name, "content": event.output}
    return Call(event, agent, None, [{"role": "assistant", "tool_calls": [request]}, result])
