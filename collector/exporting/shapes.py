"""What a run is as rows: of the run itself, of its events, of what was received, of what was said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from collector.content import ContentReader
from collector.documents.render import (
    entry_document,
    record_document,
    rfc3339,
    run_document,
    span_document,
    warning_document,
)
from collector.exporting.finetuning import examples
from mappers.conversation import Said, conversation
from mappers.model import Run
from mappers.normalize import Normalizer
from mappers.timeline import timeline
from sinks.clickhouse import Reader

Row = Mapping[str, Any]


class Shape(StrEnum):
    RUNS = "runs"
    EVENTS = "events"
    SPANS = "spans"
    """Spans and log records as received."""
    MESSAGES = "messages"
    """What was said in model calls."""
    OPENAI_FT = "openai-ft"
    """Conversations as OpenAI takes them for fine-tuning."""


WITH_CONTENT = frozenset({Shape.SPANS, Shape.MESSAGES, Shape.OPENAI_FT})
"""Shapes that are nothing but what was said."""


class Rows:
    """Makes rows of runs.

    Args:
        content: whether rows may have what was read and written.
    """

    def __init__(self, reader: Reader, normalizer: Normalizer, now_ns: int, *, content: bool) -> None:
        self._reader, self._normalizer = reader, normalizer
        self._now_ns, self._content = now_ns, content
        self._shapes: Mapping[Shape, Callable[[Run], Iterator[Row]]] = {
            Shape.RUNS: self._run,
            Shape.EVENTS: self._events,
            Shape.SPANS: self._spans,
            Shape.MESSAGES: self._messages,
            Shape.OPENAI_FT: self._examples,
        }

    def of(self, run: Run, shape: Shape) -> Iterator[Row]:
        """The run's rows, in the order of time. Raises: RetryableError."""
        return self._shapes[shape](run)

    def warnings(self, run: Run) -> Iterator[Row]:
        """The run's warnings that stand. Raises: RetryableError."""
        for warning in self._reader.warnings(run.tenant, run.run_id):
            yield warning_document(warning)

    def _run(self, run: Run) -> Iterator[Row]:
        yield run_document(run, self._now_ns, content=self._content)

    def _events(self, run: Run) -> Iterator[Row]:
        for entry in timeline(run, self._reader.events(run)):
            yield entry_document(entry, content=self._content)

    def _spans(self, run: Run) -> Iterator[Row]:
        for span in self._reader.every_span(run):
            yield {"signal": "span", "run_id": run.run_id, **span_document(span)}
        for record in self._reader.every_record(run):
            yield {"signal": "log", "run_id": run.run_id, **record_document(record)}

    def _messages(self, run: Run) -> Iterator[Row]:
        content = self._content_of(run)
        for said in conversation(content.conversation(content.calls())):
            yield message_document(run, said)

    def _examples(self, run: Run) -> Iterator[Row]:
        content = self._content_of(run)
        yield from examples(content.conversation(content.calls()))

    def _content_of(self, run: Run) -> ContentReader:
        return ContentReader(self._reader, self._normalizer, run, self._reader.events(run))


def message_document(run: Run, said: Said) -> Row:
    """A message of a model call. `new`: no call before had it."""
    event = said.call.event
    return {
        "run_id": run.run_id,
        "span_id": event.span_id,
        "time": rfc3339(event.start_ns),
        "agent": said.call.agent or None,
        "model": event.response_model or event.request_model or None,
        "role": said.role,
        "wrote": said.wrote,
        "new": said.new,
        "text": "\n".join(part.text for part in said.parts if part.type == "text") or None,
        "parts": [
            {
                name: getattr(part, name)
                for name in ("type", "text", "name", "id", "arguments")
                if getattr(part, name)
            }
            for part in said.parts
        ],
    }
