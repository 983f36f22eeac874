"""An export: pages of runs, each in the shape and format that was asked for, as bytes that come while they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import orjson

from collector.exporting import tables
from collector.exporting.archive import archive
from collector.exporting.formats import Csv, Encoder, Format, JsonLines, OtlpJson, OtlpProtobuf, Parquet
from collector.exporting.shapes import Rows, Shape
from collector.exporting.summary import Cursor, Summary
from mappers.model import Run
from sinks.clickhouse import Reader, RunFilter

PAGE = 100
"""Runs read at a time."""
BATCH = 500
"""Rows written at a time."""


COLUMNS: Mapping[Shape, tables.Columns] = {
    Shape.RUNS: tables.RUNS,
    Shape.EVENTS: tables.EVENTS,
    Shape.SPANS: tables.SPANS,
    Shape.MESSAGES: tables.MESSAGES,
}
"""What shapes are as tables; others are none."""


def refusal(shape: Shape, form: Format) -> str:
    """Why there is no such export; "" if there is."""
    if form in (Format.OTLP_JSON, Format.OTLP_PROTO) and shape is not Shape.SPANS:
        return f"{form} has spans only"
    if form in (Format.CSV, Format.PARQUET) and shape not in COLUMNS:
        return f"{shape} is no table"
    return ""


@dataclass(slots=True)
class Export:
    """Args:
    limit: most runs; 0 for all.
    tells_end: whether a last line of JSON Lines tells rows and hash.
    """

    reader: Reader
    rows: Rows
    wanted: RunFilter
    now_ns: int
    summary: Summary
    cursor: Cursor | None = None
    limit: int = 0
    tells_end: bool = True

    def pieces(self) -> Iterator[bytes]:
        """The file. Memory is bounded by what one run's shape needs at a time. Raises: RetryableError."""
        summary, digest = self.summary, hashlib.sha256()
        for piece in self._written():
            if piece:
                digest.update(piece)
                summary.bytes += len(piece)
                yield piece
        summary.sha256 = digest.hexdigest()
        summary.is_complete = True
        if self.tells_end and summary.form is Format.JSONL:
            yield orjson.dumps({"export": self._end()}, option=orjson.OPT_APPEND_NEWLINE)

    def _end(self) -> dict[str, object]:
        summary = self.summary
        return {"shape": summary.shape, "runs": summary.runs, "rows": summary.rows, "sha256": summary.sha256}

    def _written(self) -> Iterator[bytes]:
        if self.summary.form is Format.ZIP:
            yield from archive(self.runs, self.rows, self.summary)
            return
        encoder = self._encoder()
        for run in self.runs():
            rows = self.rows.of(run, self.summary.shape)
            while batch := list(islice(rows, BATCH)):
                self.summary.rows += len(batch)
                yield encoder.rows(batch)
        yield encoder.end()

    def _encoder(self) -> Encoder:
        match self.summary.form:
            case Format.CSV:
                return Csv(COLUMNS[self.summary.shape])
            case Format.PARQUET:
                return Parquet(COLUMNS[self.summary.shape])
            case Format.OTLP_JSON:
                return OtlpJson()
            case Format.OTLP_PROTO:
                return OtlpProtobuf()
        return JsonLines()

    def runs(self) -> Iterator[Run]:
        """The runs, the newest first. Reading them again gives the same, but for those that were deleted."""
        summary = self.summary
        summary.runs, cursor = 0, self.cursor
        while True:
            left = min(PAGE, self.limit - summary.runs) if self.limit else PAGE
            page = self.reader.runs(self.wanted, left, cursor, self.now_ns)
            for run in page.runs:
                summary.runs += 1
                yield run
            cursor = page.next_cursor
            if cursor is None or summary.runs == self.limit:
                summary.cursor = cursor
                return
