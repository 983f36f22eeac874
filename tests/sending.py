"""Ways to send captured payloads: each transport, and the same spans cut and shuffled."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.otlp_json import to_json
from tests.server import Server
from tests.waiting import PATIENCE_S

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


def http_protobuf(server: Server, body: bytes, project: str, signal: str = "traces") -> None:
    _post(server, body, project, signal, "application/x-protobuf")


def http_json(server: Server, body: bytes, project: str, signal: str = "traces") -> None:
    _post(server, to_json(ExportTraceServiceRequest.FromString(body)), project, signal, "application/json")


def over_grpc(server: Server, body: bytes, project: str, signal: str = "traces") -> None:
    with grpc.insecure_channel(server.endpoints["grpc"]) as channel:
        call = channel.unary_unary(TRACES if signal == "traces" else LOGS)
        assert call(body, metadata=[("x-loop-project", project)], timeout=PATIENCE_S) == b""


CLIENT = httpx.Client(timeout=PATIENCE_S)
"""One for all requests, as an exporter has: a client a request costs 20 ms and a connection each."""

TRANSPORTS = {"http-protobuf": http_protobuf, "http-json": http_json, "grpc": over_grpc}


def _post(server: Server, body: bytes, project: str, signal: str, content_type: str) -> None:
    response = CLIENT.post(
        f"{server.endpoints['http']}/v1/{signal}",
        content=body,
        headers={"Content-Type": content_type, "X-Loop-Project": project},
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == content_type
    assert response.content == (b"{}" if content_type == "application/json" else b"")


def renamed(body: bytes, salt: int, signal: str = "traces", *, spans: bool = False) -> bytes:
    """The same request with other trace ids, and with `spans` other span ids, so that it can be sent as new traces."""
    request: Any
    if signal == "traces":
        request = ExportTraceServiceRequest.FromString(body)
        items = list(_spans(request))
    else:
        request = ExportLogsServiceRequest.FromString(body)
        items = [
            record
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]
    for item in items:
        item.trace_id = _salted(item.trace_id, salt)
        if spans:
            item.span_id, item.parent_span_id = (
                _salted(item.span_id, salt),
                _salted(item.parent_span_id, salt),
            )
    return bytes(request.SerializeToString())


def _salted(identifier: bytes, salt: int) -> bytes:
    return bytes([identifier[0] ^ salt]) + identifier[1:] if identifier else identifier


def one_by_one(body: bytes, seed: int) -> list[bytes]:
    """The request cut into one request for each span, in shuffled order."""
    whole = ExportTraceServiceRequest.FromString(body)
    parts = []
    for resource in whole.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                part = ExportTraceServiceRequest()
                part_resource = part.resource_spans.add(resource=resource.resource)
                part_resource.scope_spans.add(scope=scope.scope, spans=[span])
                parts.append(part.SerializeToString())
    random.Random(seed).shuffle(parts)
    return parts


def _spans(request: ExportTraceServiceRequest) -> Iterator[Any]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans
