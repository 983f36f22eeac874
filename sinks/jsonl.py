"""Telemetry as lines of OTLP/JSON in files, one request a line, as the OpenTelemetry collector's file exporter writes
them: `eddyline import` and `eddyline map` read them again.

A signal's file is named after it. When it has grown to its size, it is closed and gets the time as part of its name;
of closed files so many are kept.
"""

from __future__ import annotations

import base64
import os
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from sinks.base import PermanentError, Rejected, RetryableError

PROJECT = "loop.project"
"""Resource attribute that says the project that a request named, where nothing else would."""
_IDS = frozenset({"traceId", "spanId", "parentSpanId"})
_CLOSED = re.compile(r"-\d{8}T\d{6}\.\d{6}\.jsonl")


class JsonLines:
    """An `Outlet` into one directory.

    Args:
        max_bytes: size at which a file is closed.
        max_files: closed files of a signal that are kept; the oldest goes.
    """

    def __init__(self, directory: Path, *, max_bytes: int, max_files: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._descriptor = -1
        self._lock = threading.Lock()
        """Held while the descriptor is used: closed by another thread it might be another file's by then."""
        self._signal = ""
        self._size = 0

    def send(self, signal: str, request: bytes, project: str) -> Rejected:
        line = orjson.dumps(document(signal, request, project)) + b"\n"
        try:
            with self._lock:
                self._write(signal, line)
        except OSError as error:
            self.close()
            raise RetryableError(f"{self._directory}: {error.strerror or error}") from error
        return Rejected()

    def _write(self, signal: str, line: bytes) -> None:
        if self._descriptor < 0 or self._signal != signal:
            self._close()
            self._open(signal)
        if self._size and self._size + len(line) > self._max_bytes:
            self._close()
            self._set_aside(signal)
            self._open(signal)
        written = os.write(self._descriptor, line)
        if written < len(line):
            os.ftruncate(self._descriptor, self._size)
            raise OSError(0, "the disk takes no more")
        self._size += written

    def _open(self, signal: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(signal)
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._signal = signal
        self._size = os.fstat(self._descriptor).st_size
        whole = self._whole_lines()
        if whole < self._size:  # a crash cut the last one off; it is written again
            os.ftruncate(self._descriptor, whole)
            self._size = whole

    def _whole_lines(self) -> int:
        """Where the last whole line ends."""
        end = self._size
        while end:
            begin = max(0, end - (1 << 16))
            found = os.pread(self._descriptor, end - begin, begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
        return 0

    def _set_aside(self, signal: str) -> None:
        path = self._path(signal)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        path.rename(path.with_name(f"{signal}-{stamp}.jsonl"))
        closed = sorted(
            file
            for file in self._directory.glob(f"{signal}-*.jsonl")
            if _CLOSED.fullmatch(file.name[len(signal) :])
        )
        for file in closed[: len(closed) - self._max_files]:
            file.unlink(missing_ok=True)

    def _path(self, signal: str) -> Path:
        return self._directory / f"{signal}.jsonl"

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def document(signal: str, request: bytes, project: str) -> dict[str, Any]:
    """A request in protobuf as OTLP/JSON.

    Raises: PermanentError, if it is none.
    """
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message: Any = ExportTraceServiceRequest if signal == "traces" else ExportLogsServiceRequest
    try:
        found: dict[str, Any] = MessageToDict(message.FromString(request), use_integers_for_enums=True)
    except (DecodeError, ValueError) as error:
        raise PermanentError(f"not OTLP: {error}") from error
    for of_resource in found.get("resourceSpans", found.get("resourceLogs", ())):
        for of_scope in of_resource.get("scopeSpans", of_resource.get("scopeLogs", ())):
            for item in of_scope.get("spans", of_scope.get("logRecords", ())):
                for part in (item, *item.get("links", ())):
                    for name in _IDS & part.keys():  # of these OTLP/JSON says hex
                        part[name] = base64.b64decode(part[name]).hex()
        if project:
            attributes = of_resource.setdefault("resource", {}).setdefault("attributes", [])
            if not any(attribute["key"] == PROJECT for attribute in attributes):
                attributes.append({"key": PROJECT, "value": {"stringValue": project}})
    return found
