"""Answers of OTLP: export responses and `google.rpc.Status`, in the encoding of the request."""

from __future__ import annotations

import json as stdlib_json
from typing import Any

from collector.otlp.signal import Signal

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

MAX_MESSAGE = 4096
"""Clients keep at most 4 MiB of an answer; a few lines are enough."""


BODY = "body"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


class Code:
    """Codes of gRPC and `google.rpc.Status`."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


def export_response(signal: Signal, content_type: str, rejected: int = 0, message: str = "") -> bytes:
    """The body of a success: empty in protobuf and `{}` in JSON unless something was rejected."""
    if not rejected and not message:
        return b"" if content_type == PROTOBUF else b"{}"
    message = message[:MAX_MESSAGE]
    if content_type == PROTOBUF:
        response = _response(signal)
        setattr(response.partial_success, signal.rejected_field, rejected)
        response.partial_success.error_message = message
        serialized: bytes = response.SerializeToString()
        return serialized
    first, *rest = signal.rejected_field.split("_")
    rejected_name = first + "".join(part.capitalize() for part in rest)
    partial_success = {rejected_name: str(rejected), "errorMessage": message}
    return stdlib_json.dumps({"partialSuccess": partial_success}, ensure_ascii=False).encode()


def error_status(code: int, message: str, content_type: str) -> bytes:
    """A `google.rpc.Status`; JSON unless the request was protobuf. A bad request has its `BadRequest` detail."""
    message = message[:MAX_MESSAGE]
    bad = code == Code.INVALID_ARGUMENT
    if content_type == PROTOBUF:
        status = _status(code, message)
        if bad:
            from google.rpc.error_details_pb2 import BadRequest

            violation = BadRequest.FieldViolation(field=BODY, description=message)
            status.details.add().Pack(BadRequest(field_violations=[violation]))
        serialized: bytes = status.SerializeToString()
        return serialized
    document: dict[str, Any] = {"code": code, "message": message}
    if bad:
        violations = [{"field": BODY, "description": message}]
        document["details"] = [{"@type": BAD_REQUEST, "fieldViolations": violations}]
    return stdlib_json.dumps(document, ensure_ascii=False).encode()


def retry_trailers(
    message: str, retry_after_s: int, code: int = Code.UNAVAILABLE
) -> tuple[tuple[str, bytes], ...]:
    """gRPC trailers that ask for another try later.

    The specification has RetryInfo in `grpc-status-details-bin`; the Python exporter reads
    `google.rpc.retryinfo-bin` instead, so both are sent.
    """
    from google.protobuf.duration_pb2 import Duration
    from google.rpc.error_details_pb2 import RetryInfo

    info = RetryInfo(retry_delay=Duration(seconds=retry_after_s))
    status = _status(code, message)
    status.details.add().Pack(info)
    return (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
    )


def _status(code: int, message: str) -> Any:
    from google.rpc.status_pb2 import Status

    return Status(code=code, message=message)


def _response(signal: Signal) -> Any:
    if signal is Signal.TRACES:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        return ExportTraceServiceResponse()
    if signal is Signal.LOGS:
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

        return ExportLogsServiceResponse()
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    return ExportMetricsServiceResponse()
