"""What leaves for others: requests as they came, but masked as what is stored is, and without deleted runs; on wish
with GenAI attributes in the words of today's conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from collector.journal import Record
from collector.otlp import messages, spans_of
from collector.otlp.cut import cut
from collector.otlp.decode import records_of
from collector.otlp.encode import with_records, with_spans
from collector.pipeline.mapped import label
from collector.pipeline.marks import marked
from collector.pipeline.redaction import Redaction
from collector.pipeline.tombstones import Tombstones
from mappers.model import LogRecord, Span
from mappers.normalize import Normalizer
from mappers.semconv import gen_ai_attributes


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent at once."""

    body: bytes
    """A request in protobuf."""
    project: str
    """What the senders named; "": none."""
    items: int


class Prepare(Protocol):
    """What makes parcels of records."""

    def parcels(self, records: Sequence[Record]) -> list[Parcel]: ...


class Passage:
    """Prepares one signal for one sink. Used from one thread.

    Args:
        normalizer: reads spans, so that they get GenAI attributes; None: they go as they came.
        run_of: the run of a log record.
    """

    def __init__(
        self,
        signal: str,
        redaction: Redaction,
        tombstones: Tombstones,
        run_of: Callable[[LogRecord], str],
        normalizer: Normalizer | None = None,
    ) -> None:
        self._of_spans = signal == "traces"
        self._redaction = redaction
        self._tombstones = tombstones
        self._run_of = run_of
        self._normalizer = normalizer if self._of_spans else None

    def parcels(self, records: Sequence[Record]) -> list[Parcel]:
        """In order; neighbours of one project are one.

        Raises: ValueError, if one of them is no request.
        """
        found: list[Parcel] = []
        for record, (body, items) in zip(records, self._bodies(records), strict=True):
            project = record.header.project
            if not items:
                continue
            if found and found[-1].project == project:
                # Requests one after the other are one: all that they hold is a list of resources.
                found[-1] = Parcel(found[-1].body + body, project, found[-1].items + items)
            else:
                found.append(Parcel(body, project, items))
        return found

    def _bodies(self, records: Sequence[Record]) -> list[tuple[bytes, int]]:
        if self._normalizer is None and self._redaction.secrets_only and not len(self._tombstones):
            hits = marked([record.body for record in records])
            suspect = [record for record, hit in zip(records, hits, strict=True) if hit]
            masked = iter(self._opened(suspect))
            return [
                next(masked) if hit else (record.body, record.header.items)
                for record, hit in zip(records, hits, strict=True)
            ]
        return self._opened(records)

    def _opened(self, records: Sequence[Record]) -> list[tuple[bytes, int]]:
        opened = [self._open(record) for record in records]
        for body, _, items in opened:
            self._redaction.saw(body, items)
        changed = self._redaction.mask()
        found = []
        for (body, request, items), is_changed in zip(opened, changed, strict=True):
            is_new = self._normalized(items) if self._normalizer is not None else False
            if is_changed:
                self._redaction.hide(items, [])
            if is_changed or is_new:
                body = with_spans(request, items) if self._of_spans else with_records(request, items)
            found.append((body, len(items)))
        return found

    def _open(self, record: Record) -> tuple[bytes, Any, Sequence[Any]]:
        """The record's body without what belongs to deleted runs, as a message, and its items."""
        body = record.body
        request, items = self._parsed(body)
        label(items, record)
        if len(self._tombstones):
            kept = {
                place
                for place, item in enumerate(items)
                if (item.tenant, self._run(item)) not in self._tombstones
            }
            if len(kept) < len(items):
                body = cut(body, kept)
                request, items = self._parsed(body)
                label(items, record)
        return body, request, items

    def _parsed(self, body: bytes) -> tuple[Any, Sequence[Any]]:
        try:
            if self._of_spans:
                request = messages.TracesRequest.FromString(body)
                return request, spans_of(request)
            request = messages.LogsRequest.FromString(body)
            return request, records_of(request)
        except Exception as error:  # upb's own kind of error, which is no ValueError
            raise ValueError(f"can not be decoded: {error}") from error

    def _run(self, item: Span | LogRecord) -> str:
        return item.trace_id if isinstance(item, Span) else self._run_of(item)

    def _normalized(self, spans: Iterable[Span]) -> bool:
        """Adds the attributes that spans lack; whether there were any."""
        assert self._normalizer is not None
        added = False
        for span in spans:
            known = gen_ai_attributes(self._normalizer.normalize(span), content=True)
            missing = {name: value for name, value in known.items() if name not in span.attributes}
            if missing:
                span.attributes = {**span.attributes, **missing}
                added = True
        return added
