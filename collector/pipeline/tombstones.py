"""Runs that were deleted: nothing of them is taken any more, however late it comes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from collector.pipeline.undecoded import Undecoded
from mappers.model import Event, LogRecord, Run, Span, Warning
from sinks.base import Batch, RunKey, Sink, SpanVersion


class Tombstones:
    """The keys of deleted runs. May be asked from any thread; of batches that are being written, see `Refusing`."""

    def __init__(self, keys: Iterable[RunKey] = ()) -> None:
        self._keys = set(keys)
        self._writing = threading.Lock()

    def __contains__(self, key: RunKey) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Iterable[RunKey]) -> None:
        """From when this returns, no row of these runs is written: a batch that is being written is waited for."""
        with self._writing:
            self._keys = self._keys | set(keys)

    def writing(self) -> AbstractContextManager[object]:
        """Held while a batch is written."""
        return self._writing

    def among(self, keys: Iterable[RunKey]) -> set[RunKey]:
        """Those of the keys whose runs are deleted."""
        return self._keys.intersection(keys) if self._keys else set()


class Refusing:
    """A sink that leaves rows of deleted runs out, and names in the batch whose they were; and spans that are outdated.

    The batch itself stays whole: what is kept aside later is found by its place in it.
    """

    def __init__(self, sink: Sink, tombstones: Tombstones) -> None:
        self._sink = sink
        self._tombstones = tombstones

    def write(self, batch: Batch) -> None:
        with self._tombstones.writing():
            deleted = self._tombstones.among(_keys(batch)) if len(self._tombstones) else None
            if deleted:
                batch.refused |= deleted
                batch = replace(
                    batch,
                    sent=None,
                    spans=[span for span in batch.spans if span_key(span) not in deleted],
                    logs=[record for record in batch.logs if record_key(record) not in deleted],
                    events=_without(batch.events, deleted),
                    runs=_without(batch.runs, deleted),
                    warnings=_without(batch.warnings, deleted),
                )
            if batch.outdated:
                current = [span for span in batch.spans if _version(span) not in batch.outdated]
                batch = replace(batch, sent=None, spans=current)
            self._sink.write(batch)

    def close(self) -> None:
        self._sink.close()


def span_key(span: Span) -> RunKey:
    return span.tenant, span.trace_id


def _version(span: Span) -> SpanVersion:
    return span.tenant, span.trace_id, span.span_id, span.end_ns


def span_keys(spans: Sequence[Span]) -> Iterable[RunKey]:
    """Of each span, without decoding it."""
    return spans.keys if isinstance(spans, Undecoded) else map(span_key, spans)


def record_key(record: LogRecord) -> RunKey:
    return record.tenant, record.run_id or record.trace_id


def _keys(batch: Batch) -> set[RunKey]:
    rows: Sequence[Event | Run | Warning] = [*batch.events, *batch.runs, *batch.warnings]
    return {
        *span_keys(batch.spans),
        *map(record_key, batch.logs),
        *((row.tenant, row.run_id) for row in rows),
    }


def _without(rows: Sequence[Any], deleted: set[RunKey]) -> list[Any]:
    return [row for row in rows if (row.tenant, row.run_id) not in deleted]
