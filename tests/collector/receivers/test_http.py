"""OTLP/HTTP as exporters meet it. A test is named for the lines of the conformance list that it holds: H the HTTP
surface, F failures, J JSON, P the data model, L other signals; G, in the tests of gRPC, that transport."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import zlib
from typing import Any

import httpx
import pytest
import zstandard
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.corpus import select
from tests.otlp_json import to_json
from tests.sending import renamed
from tests.server import Server
from tests.waiting import PATIENCE_S

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


def request(number: int, spans: int = 1) -> ExportTraceServiceRequest:
    """A valid request; `number` makes its trace its own."""
    made = ExportTraceServiceRequest()
    scope = made.resource_spans.add().scope_spans.add()
    for span in range(1, spans + 1):
        scope.spans.add(
            trace_id=b"http" + number.to_bytes(12, "big"),
            span_id=span.to_bytes(8, "big"),
            name=f"span {span}",
            start_time_unix_nano=1_790_000_000 * 10**9,
            end_time_unix_nano=1_790_000_001 * 10**9,
        )
    return made


def post(server: Server, body: bytes, path: str = "/v1/traces", **headers: str) -> httpx.Response:
    sent = {"Content-Type": PROTOBUF} | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(server.endpoints["http"] + path, content=body, headers=sent, timeout=PATIENCE_S)


def stored_spans(server: Server, number: int) -> int:
    server.settled()
    response = server.api.get(f"/api/v1/runs/{(b'http' + number.to_bytes(12, 'big')).hex()}")
    return int(response.json()["counts"]["spans"]) if response.status_code == 200 else 0


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/v1/traces", PROTOBUF),
        ("/v1/traces", JSON),
        ("/v1/traces/", PROTOBUF),
        ("/otel/v1/traces", PROTOBUF),
        ("/api/public/otel/v1/traces", PROTOBUF),
        ("/v1/traces/v1/traces", PROTOBUF),
        ("/v1/traces?key=value", PROTOBUF),
        ("/v1/traces", "application/json; charset=utf-8"),
        ("/v1/traces", "Application/X-Protobuf"),
        ("/v1/traces", "application/protobuf"),
        ("/v1/traces", "application/vnd.google.protobuf"),
    ],
)
def test_H1_H2_H3_H8_H9_spans_are_taken_and_answered_in_kind(
    server: Server, path: str, content_type: str
) -> None:
    number = hash((path, content_type)) & 0xFFFFFF
    is_json = "json" in content_type
    body = to_json(request(number)) if is_json else request(number).SerializeToString()
    response = post(server, body, path, Content_Type=content_type)
    assert response.status_code == 200
    assert response.headers["content-type"] == (JSON if is_json else PROTOBUF)
    assert response.content == (b"{}" if is_json else b"")
    assert stored_spans(server, number) == 1


@pytest.mark.parametrize("signal", ["logs", "metrics"])
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_L1_other_signals_are_answered_in_kind(server: Server, signal: str, content_type: str) -> None:
    made: Any = ExportLogsServiceRequest() if signal == "logs" else ExportMetricsServiceRequest()
    if signal == "logs":
        made.resource_logs.add().scope_logs.add().log_records.add(event_name="gen_ai.choice")
    else:
        made.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points.add()
    body = to_json(made) if content_type == JSON else made.SerializeToString()
    response = post(server, body, f"/v1/{signal}", Content_Type=content_type)
    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    assert response.content == (b"{}" if content_type == JSON else b"")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", PROTOBUF),
        (b"", JSON),
        (b"  \n", JSON),
        (b"{}", JSON),
        (b'{"resourceSpans":[]}', JSON),
        (b'{"resourceSpans":[{"scopeSpans":[{}]}]}', JSON),
        (b'{"resourceSpans":null}', JSON),
    ],
)
def test_H12_nothing_is_a_success(server: Server, body: bytes, content_type: str) -> None:
    before = server.get("/status")["pipeline"]["accepted"]
    assert post(server, body, Content_Type=content_type).status_code == 200
    assert server.get("/status")["pipeline"]["accepted"] == before


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("identity", bytes),
        ("none", bytes),
        ("gzip", gzip.compress),
        ("GZip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("gzip, identity", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:])),
        ("gzip", lambda body: gzip.compress(body) + b"\0" * 8),
        ("deflate", zlib.compress),
        ("deflate", _raw_deflate),
        ("zstd", zstandard.compress),
        ("zstd", lambda body: zstandard.compress(body[:50]) + zstandard.compress(body[50:])),
        ("zstd", lambda body: zstandard.compress(body, level=3) + zstandard.compress(b"")),
    ],
)
def test_H10_encodings_are_inflated(server: Server, name: str, pack: Any) -> None:
    number = 0x1000000 + hash((name, id(pack))) % 0xFFFFFF
    assert post(server, pack(request(number).SerializeToString()), Content_Encoding=name).status_code == 200
    assert stored_spans(server, number) == 1


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("br", b"x", 415),
        ("gzip, deflate", b"x", 415),
        ("gzip", b"not gzip", 400),
        ("gzip", gzip.compress(b"x" * 100, mtime=0)[:-9], 400),
        ("gzip", gzip.compress(b"abc", mtime=0) + b"garbage", 400),
        ("gzip", gzip.compress(b"abc", mtime=0)[:-8] + bytes(8), 400),  # its checksum is another
        ("deflate", b"\x00\x01", 400),
        ("zstd", b"not zstd", 400),
        ("zstd", zstandard.compress(b"x" * 5000)[:-3], 400),
        ("zstd", zstandard.compress(b"") + b"garbage", 400),
        ("zstd", zstandard.compress(b"") * 2 + zstandard.compress(b"x" * 5000)[:-3], 400),
    ],
)
def test_H10_H11_what_can_not_be_inflated_is_refused(
    server: Server, name: str, body: bytes, status: int
) -> None:
    response = post(server, body, Content_Encoding=name)
    assert response.status_code == status
    assert Status.FromString(response.content).message
    if status == 415:
        assert "gzip" in response.headers["accept-encoding"]


@pytest.mark.parametrize("lines", [("gzip", "identity"), ("identity", "gzip")])
def test_H10_encodings_on_several_lines_are_one_list(server: Server, lines: tuple[str, str]) -> None:
    number = 0x1000000 + hash(lines) % 0xFFFFFF
    response = httpx.post(
        f"{server.endpoints['http']}/v1/traces",
        content=gzip.compress(request(number).SerializeToString()),
        headers=[("content-type", PROTOBUF), *(("content-encoding", line) for line in lines)],
    )
    assert response.status_code == 200
    assert stored_spans(server, number) == 1


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_H15_a_bomb_is_refused_unexploded(server: Server, pack: Any) -> None:
    name = "gzip" if pack is gzip.compress else "zstd"
    response = post(server, pack(b"\0" * (80 << 20)), Content_Encoding=name)
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        (b"null", JSON, "null"),
        (b"[]", JSON, "list"),
        (b'"x"', JSON, "text"),
        (b"{", JSON, "not JSON"),
        (b'{"resourceSpans":{}}', JSON, "must be a list"),
        (b'{"resourceSpans":["x"]}', JSON, "object"),
        (b"\xff\xfe{\x00}\x00", JSON, "UTF-8"),
        (b"{}", PROTOBUF, "not an OTLP traces request"),
        (b"nonsense", PROTOBUF, "not an OTLP traces request"),
        (b"[" * 100_000, JSON, "nested too deep"),
    ],
)
def test_H13_J14_J15_F1_what_is_not_otlp_is_a_bad_request(
    server: Server, body: bytes, content_type: str, says: str
) -> None:
    response = post(server, body, Content_Type=content_type)
    assert response.status_code == 400
    assert response.headers["content-type"] == content_type
    message = (
        json.loads(response.content)["message"]
        if content_type == JSON
        else Status.FromString(response.content).message
    )
    assert says in message


def test_H13_protobuf_sent_as_json_is_named(server: Server) -> None:
    response = post(server, request(1).SerializeToString(), Content_Type=JSON)
    assert response.status_code == 400
    assert "protobuf" in response.json()["message"] or "not JSON" in response.json()["message"]


def test_P10_logs_sent_as_traces_are_named(server: Server) -> None:
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(event_name="x", severity_text="INFO")
    response = post(server, logs.SerializeToString())
    assert response.status_code == 400
    assert "another signal" in Status.FromString(response.content).message


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_H8_other_content_types_are_refused(server: Server, content_type: str) -> None:
    response = post(server, b"x", Content_Type=content_type)
    assert response.status_code == 415
    assert response.headers["accept-post"] == "application/x-protobuf, application/json"
    assert response.json()["message"]


def test_H4_the_root_names_the_right_path(server: Server) -> None:
    response = post(server, b"", "/")
    assert response.status_code == 404
    assert "/v1/traces" in Status.FromString(response.content).message


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/traces", 405),
        ("PUT", "/v1/logs", 405),
        ("POST", "/nothing", 404),
        ("POST", "/v1development/profiles", 404),
        ("GET", "/", 404),
    ],
)
def test_H5_H6_H7_F3_other_routes_say_so(server: Server, method: str, path: str, status: int) -> None:
    response = httpx.request(method, server.endpoints["http"] + path, follow_redirects=False)
    assert response.status_code == status
    assert response.json()["message"]
    if status == 405:
        assert "POST" in response.headers["allow"]


def test_H16_chunks_of_any_size_are_one_body(server: Server) -> None:
    number = 0x2000001
    body = request(number).SerializeToString()
    response = httpx.post(
        server.endpoints["http"] + "/v1/traces",
        content=(body[at : at + 1] for at in range(len(body))),
        headers={"Content-Type": PROTOBUF},
    )
    assert response.status_code == 200
    assert stored_spans(server, number) == 1


def test_H15_a_declared_length_over_the_limit_is_refused_before_it_is_read(server: Server) -> None:
    host, port = server.endpoints["http"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {65 << 20}\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 1000)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_H20_connections_are_kept(server: Server) -> None:
    host, port = server.endpoints["http"].removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    for _ in range(3):
        connection.request("POST", "/v1/traces", b"", {"Content-Type": PROTOBUF})
        response = connection.getresponse()
        response.read()
        assert (response.status, response.will_close) == (200, False)
    connection.close()


def broken(number: int, **fields: Any) -> ExportTraceServiceRequest:
    made = request(number, spans=3)
    for name, value in fields.items():
        setattr(made.resource_spans[0].scope_spans[0].spans[1], name, value)
    return made


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b"short"}, "trace id is not 16 bytes"),
        ({"trace_id": b""}, "trace id is not 16 bytes"),
        ({"trace_id": bytes(16)}, "trace id is zero"),
        ({"span_id": b"x" * 9}, "span id is not 8 bytes"),
        ({"span_id": bytes(8)}, "span id is zero"),
    ],
)
def test_P3_a_bad_id_costs_one_span(server: Server, fields: dict[str, bytes], reason: str) -> None:
    number = 0x3000000 + abs(hash(reason + str(fields))) % 0xFFFFFF
    response = post(server, broken(number, **fields).SerializeToString())
    assert response.status_code == 200
    partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    assert (partial.rejected_spans, partial.error_message) == (1, f"1 × {reason}")
    assert stored_spans(server, number) == 2


def test_J2_J3_J17_a_bad_id_in_json_costs_one_span(server: Server) -> None:
    number = 0x4000001
    document = json.loads(to_json(request(number, spans=4)))
    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans[0]["traceId"] = "not hex"
    spans[1]["spanId"] = "AAAAAAAAAAE="
    spans[2]["startTimeUnixNano"] = str(2**70)
    response = post(server, json.dumps(document).encode(), Content_Type=JSON)
    assert response.status_code == 200
    partial = response.json()["partialSuccess"]
    assert partial["rejectedSpans"] == "3"
    assert "looks like base64" in partial["errorMessage"]
    assert stored_spans(server, number) == 1


def test_P8_invalid_utf8_costs_one_span(server: Server) -> None:
    number = 0x4000002
    body = request(number, spans=3).SerializeToString().replace(b"span 2", b"sp\xff\xff 2")
    response = post(server, body)
    assert response.status_code == 200
    assert ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans == 1
    assert stored_spans(server, number) == 2


def test_P9_a_value_nested_too_deep_costs_one_span(server: Server) -> None:
    number = 0x4000003
    made = request(number, spans=2)
    value = made.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="deep").value
    for _ in range(60):
        value = value.array_value.values.add()
    response = post(server, made.SerializeToString())
    assert response.status_code == 200
    assert ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans == 1
    assert stored_spans(server, number) == 1


def test_the_project_comes_from_the_header_else_the_resource_else_the_default(server: Server) -> None:
    for number, header, resource in (
        (0x5000001, "by header", "x"),
        (0x5000002, "", "by resource"),
        (0x5000003, "", ""),
    ):
        made = request(number)
        if resource:
            made.resource_spans[0].resource.attributes.add(
                key="openinference.project.name"
            ).value.string_value = resource
        headers = {"X_Loop_Project": header} if header else {}
        assert post(server, made.SerializeToString(), **headers).status_code == 200
    server.settled()
    names = [
        server.get(f"/runs/{(b'http' + number.to_bytes(12, 'big')).hex()}")["project"]
        for number in (0x5000001, 0x5000002, 0x5000003)
    ]
    assert names == ["by header", "by resource", "default"]


def test_a_captured_request_with_gzip_reads_like_its_plain_twin(server: Server) -> None:
    [scenario] = select("traceloop/openai/tools@gzip")
    body = renamed(scenario.traces[0].read_bytes(), 55)
    assert post(server, gzip.compress(body), Content_Encoding="gzip", X_Loop_Project="gz").status_code == 200
    server.settled()
    assert sum(run["counts"]["llm_calls"] for run in server.runs(project="gz")) == 3
