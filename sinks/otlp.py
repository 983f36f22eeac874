"""Passing telemetry on by OTLP, over HTTP or gRPC. Which answers are worth another try is the protocol's word: OTLP
specification, sections "Failures" of both transports.

What somebody has to mend at the target — a wrong key, an address where nothing is — is waited for like an outage: it is
no request's fault, and no request is dropped for it.
"""

from __future__ import annotations

import gzip
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz
from time import time
from typing import Any, Literal
from urllib.parse import urlsplit

from sinks.base import BusyError, PermanentError, Rejected, RetryableError

Compression = Literal["gzip", "zstd", "off"]
RETRYABLE = frozenset({429, 502, 503, 504})
TO_BE_MENDED = frozenset({401, 403, 404, 405, 407, 421, 426})
METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
MAX_SAID = 300
"""Characters of what a target says that are told on."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where telemetry goes."""

    endpoint: str
    """`http(s)://host[:port][/path]`; over HTTP the signals are below the path, at `/v1/traces` and so on."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    compression: Compression = "gzip"
    timeout_s: float = 10.0
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class OtlpHttp:
    """An `Outlet` over HTTP, with one connection that is kept open."""

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.endpoint)
        self._target = target
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": "eddyline", **target.headers}
        if target.compression != "off":
            self._headers["Content-Encoding"] = target.compression
        self._connection: http.client.HTTPConnection | None = None

    def send(self, signal: str, request: bytes, project: str) -> Rejected:
        headers = self._headers | ({"X-Eddyline-Project": project.encode()} if project else {})
        body = _packed(request, self._target.compression)
        try:
            response, content = self._post(f"{self._path}/v1/{signal}", body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise RetryableError(f"{type(error).__name__}: {error}") from error
        if response.status == 200:
            json = (response.getheader("Content-Type") or "").startswith("application/json")
            return Rejected() if json else rejected_by(signal, content)
        said = f"answered {response.status} {_said(content)}".rstrip()
        if response.status in RETRYABLE:
            raise BusyError(said, _seconds(response.getheader("Retry-After")))
        if response.status in TO_BE_MENDED or 300 <= response.status < 400:
            raise RetryableError(said)
        raise PermanentError(said)

    def _post(
        self, path: str, body: bytes, headers: Mapping[str, Any]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        for attempt in (1, 2):
            fresh = self._connection is None
            connection = self._connection = self._connection or self._connect()
            try:
                connection.request("POST", path, body, headers)
                response = connection.getresponse()
                return response, response.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # An idle connection that the other side has closed says nothing about the other side.
                self.close()
                if fresh or attempt == 2:
                    raise
        raise AssertionError

    def _connect(self) -> http.client.HTTPConnection:
        timeout = self._target.timeout_s
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        context = ssl.create_default_context(cafile=self._target.ca_file or None)
        if self._target.cert_file:
            context.load_cert_chain(self._target.cert_file, self._target.key_file)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=context)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.sock is not None:  # who waits for an answer in another thread waits no more
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()


class OtlpGrpc:
    """An `Outlet` over gRPC."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._parts = urlsplit(target.endpoint)
        self._channel: Any = None
        self._lock = threading.Lock()

    def send(self, signal: str, request: bytes, project: str) -> Rejected:
        import grpc

        metadata = [(name.lower(), value) for name, value in self._target.headers.items()]
        if project:
            metadata.append(("x-eddyline-project", project))
        call = self._open().unary_unary(METHODS[signal])
        compression = grpc.Compression.Gzip if self._target.compression == "gzip" else None
        try:
            content = call(
                request, metadata=metadata, timeout=self._target.timeout_s, compression=compression
            )
        except grpc.RpcError as error:
            raise _failure(error) from error
        except ValueError as error:  # closed meanwhile
            raise RetryableError(str(error)) from error
        return rejected_by(signal, content)

    def _open(self) -> Any:
        import grpc

        with self._lock:
            if self._channel is None:
                secure = self._parts.scheme == "https"
                address = f"{self._parts.hostname}:{self._parts.port or (443 if secure else 4317)}"
                options = [("grpc.max_receive_message_length", 1 << 20), ("grpc.enable_retries", 0)]
                if secure:
                    self._channel = grpc.secure_channel(address, self._credentials(), options)
                else:
                    self._channel = grpc.insecure_channel(address, options)
            return self._channel

    def _credentials(self) -> Any:
        import grpc

        def content(file: str) -> bytes | None:
            if not file:
                return None
            with open(file, "rb") as opened:
                return opened.read()

        target = self._target
        try:
            return grpc.ssl_channel_credentials(
                content(target.ca_file), content(target.key_file), content(target.cert_file)
            )
        except OSError as error:
            raise RetryableError(str(error)) from error

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None


def rejected_by(signal: str, content: bytes) -> Rejected:
    """What the answer to a request that was taken says of items that were not."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    try:
        if signal == "traces":
            of_traces = ExportTraceServiceResponse.FromString(content).partial_success
            return Rejected(of_traces.rejected_spans, of_traces.error_message)
        if signal == "metrics":
            from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
                ExportMetricsServiceResponse,
            )

            of_metrics = ExportMetricsServiceResponse.FromString(content).partial_success
            return Rejected(of_metrics.rejected_data_points, of_metrics.error_message)
        of_logs = ExportLogsServiceResponse.FromString(content).partial_success
        return Rejected(of_logs.rejected_log_records, of_logs.error_message)
    except DecodeError:  # it was taken: that is what counts
        return Rejected()


def _packed(request: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.compress(request, 1)
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=1).compress(request)
    return request


def _said(content: bytes) -> str:
    """What an answer that is no success says; a `google.rpc.Status`, or any text."""
    from google.protobuf.message import DecodeError
    from google.rpc.status_pb2 import Status

    try:
        text = Status.FromString(content).message
    except DecodeError:
        text = ""
    return " ".join((text or content.decode(errors="replace")).split())[:MAX_SAID]


def _seconds(told: str | None) -> float:
    """Of `Retry-After`: a number of seconds, or a date. 0 if there is none."""
    if not told:
        return 0.0
    if told.strip().isdigit():
        return float(told)
    date = parsedate_tz(told)
    return max(0.0, mktime_tz(date) - time()) if date else 0.0


def _failure(error: Any) -> Exception:
    """A call that failed, as what a sink raises."""
    import grpc

    code = error.code()
    said = f"{code.name}: {error.details() or ''}"[:MAX_SAID]
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        after_s = _told_to_wait(error)
        if after_s is not None:
            return BusyError(said, after_s)
    if code in (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    ):
        return PermanentError(said)
    return RetryableError(said)


def _told_to_wait(error: Any) -> float | None:
    """Seconds of the `RetryInfo` that came with a failure; None: there is none."""
    from google.protobuf.message import DecodeError
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    for name, value in error.trailing_metadata() or ():
        if name != "grpc-status-details-bin":
            continue
        try:
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Is(RetryInfo.DESCRIPTOR) and detail.Unpack(info):
                    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
        except DecodeError:
            return None
    return None
