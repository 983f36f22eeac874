"""What is stored of a request, whichever way it takes into the real engine."""

from __future__ import annotations

from pathlib import Path

from collector.journal import Header
from collector.otlp import Signal, parse_traces, spans_of
from collector.pipeline.clocks import settle_times
from collector.pipeline.sent import Received
from mappers.model import Span
from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink, Store
from tests.server import with_schema
from tests.sinks.stored_spans import rows


class BothWays:
    """Spans that the engine reads from requests by itself are the rows that it is given as columns.

    Args:
        folder: for its database.
        every: of so many requests one is stored: it takes ten times as long as all the rest.
    """

    def __init__(self, folder: Path, every: int = 10) -> None:
        database = folder / "database"
        with_schema(database)
        self._store = Store.open(database)
        self._sink = ClickHouseSink(self._store)
        self._every = every
        self._seen = 0

    def agree(self, signal: Signal, header: Header, body: bytes) -> None:
        """Raises: AssertionError, or the sink's error."""
        self._seen += 1
        if signal is not Signal.TRACES or self._seen % self._every:
            return
        by_request, by_columns = f"request-{self._seen}", f"columns-{self._seen}"
        spans, request = self._received(header, body, by_request)
        if request is None or len({(span.trace_id, span.span_id) for span in spans}) < len(spans):
            return  # of spans that are there twice the engine may keep either
        self._store.insert_requests([request])
        spans, _ = self._received(header, body, by_columns)
        self._sink.write(Batch(spans=spans))
        assert rows(self._store, by_request) == rows(self._store, by_columns)

    def close(self) -> None:
        self._store.close()

    @staticmethod
    def _received(header: Header, body: bytes, owner: str) -> tuple[list[Span], bytes | None]:
        """The spans of this tenant and project, and the request that tells them, if they can be told so."""
        request = parse_traces(body)
        spans = spans_of(request)
        for span in spans:
            span.tenant = span.project = owner
        received = Received()
        received.add(None if settle_times(spans, header.received_ns) else request, spans)
        [labelled] = received.labelled([False])
        return spans, labelled
