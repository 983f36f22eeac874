"""How rows are written down: each format takes rows as they come, and gives bytes as soon as it has some."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import orjson

from collector.exporting.otlp import requests
from collector.exporting.pipe import Pipe
from collector.exporting.tables import FLAG, INTEGER, REAL, Columns, cells
from collector.otlp import transcode

Document = Mapping[str, Any]


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    OTLP_JSON = "otlp-json"
    OTLP_PROTO = "otlp-proto"
    ZIP = "zip"
    """All shapes, with notes for whoever reads them."""


class Encoder(Protocol):
    media: str
    extension: str

    def rows(self, rows: Sequence[Document]) -> bytes:
        """What can be written after these rows."""

    def end(self) -> bytes:
        """What is left to be written."""


class JsonLines:
    media, extension = "application/x-ndjson", "jsonl"

    def rows(self, rows: Sequence[Document]) -> bytes:
        return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)

    def end(self) -> bytes:
        return b""


class Csv:
    """RFC 4180, in UTF-8 with a mark that spreadsheets know it by. A text that a spreadsheet would take for a formula
    begins with an apostrophe."""

    media, extension = "text/csv; charset=utf-8; header=present", "csv"
    _FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._begun = False

    def rows(self, rows: Sequence[Document]) -> bytes:
        output = io.StringIO(newline="")
        writer = csv.writer(output)
        if not self._begun:
            self._begun = True
            output.write("\ufeff")
            writer.writerow(self._columns)
        for row in rows:
            writer.writerow(map(self._shown, cells(row, self._columns)))
        return output.getvalue().encode(errors="replace")

    def _shown(self, value: Any) -> Any:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str) and value.startswith(self._FORMULA):
            return "'" + value
        return "" if value is None else value

    def end(self) -> bytes:
        return b"" if self._begun else self.rows(())


class Parquet:
    """A row group for each batch of rows, compressed with zstd."""

    media, extension = "application/vnd.apache.parquet", "parquet"
    ROWS = 10_000

    def __init__(self, columns: Columns) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {REAL: pa.float64(), INTEGER: pa.int64(), FLAG: pa.bool_()}
        self._columns = columns
        self._schema = pa.schema([(path, kinds.get(kind, pa.string())) for path, kind in columns.items()])
        self._written = Pipe()
        self._writer = pq.ParquetWriter(self._written, self._schema, compression="zstd")
        self._waiting: list[list[Any]] = []

    def rows(self, rows: Sequence[Document]) -> bytes:
        self._waiting += [cells(row, self._columns) for row in rows]
        if len(self._waiting) >= self.ROWS:
            self._write()
        return self._written.taken()

    def _write(self) -> None:
        import pyarrow as pa

        arrays = [
            pa.array([_fitting(row[place], kind) for row in self._waiting], self._schema.field(place).type)
            for place, kind in enumerate(self._columns.values())
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._waiting = []

    def end(self) -> bytes:
        if self._waiting:
            self._write()
        self._writer.close()
        return self._written.taken()


def _fitting(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == REAL:
        return float(value)
    if kind in (INTEGER, FLAG):
        return value
    return str(value).encode(errors="replace").decode()


class OtlpJson:
    """Lines of OTLP/JSON requests, as the OpenTelemetry collector's file exporter writes them."""

    media, extension = "application/x-ndjson", "otlp.jsonl"

    def rows(self, rows: Sequence[Document]) -> bytes:
        return b"".join(
            orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE) for _, request in requests(rows)
        )

    def end(self) -> bytes:
        return b""


class OtlpProtobuf:
    """OTLP requests in protobuf, each after its length as four bytes, the highest first, as the OpenTelemetry
    collector's file exporter writes them."""

    media, extension = "application/octet-stream", "otlp.pb"

    def rows(self, rows: Sequence[Document]) -> bytes:
        written = b""
        for signal, request in requests(rows):
            body = transcode(signal, orjson.dumps(request)).body
            written += struct.pack(">I", len(body)) + body
        return written

    def end(self) -> bytes:
        return b""
