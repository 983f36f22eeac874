"""What answers say beside yes and no: warnings, compression; when they are given; and doors that are files."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from click.testing import CliRunner
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from collector.cli import main
from collector.config import HttpProtocol, JournalSettings, TlsSettings
from collector.intake.intake import WARN_EVERY_S, Intake, Submission
from collector.intake.outcome import Outcome, Verdict
from collector.otlp import Signal, check, transcode
from collector.otlp.check import WHOLE_BYTES
from collector.otlp.limits import Limits
from collector.otlp.status import JSON, PROTOBUF
from collector.receivers.grpc import GrpcReceiver
from collector.receivers.http import HttpReceiver
from collector.receivers.opening import open_http
from tests.collector.receivers.posting import Answer, posted
from tests.collector.receivers.test_conformance import traced
from tests.collector.receivers.test_http import request
from tests.otlp_json import to_json
from tests.sending import TRACES
from tests.server import Server, handed_down
from tests.waiting import PATIENCE_S, until

METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


class Held:
    """A journal that keeps its callers waiting."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[Exception | None], None]] = []

    def append(self, header: Any, body: bytes, done: Callable[[Exception | None], None]) -> None:
        self.waiting.append(done)


def test_F2_nobody_is_answered_before_it_is_safe() -> None:
    journal = Held()
    intake = Intake({"traces": journal})  # type: ignore[dict-item]  # a journal that stands still
    outcomes: list[Outcome] = []
    intake.take(Submission(Signal.TRACES, traced().SerializeToString(), "grpc"), outcomes.append)
    assert (len(journal.waiting), outcomes) == (1, [])
    journal.waiting.pop()(None)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.ACCEPTED]

    async def over_http() -> tuple[list[Any], list[Any]]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": traced(name="x").SerializeToString(), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", PROTOBUF.encode())]
        scope = {"type": "http", "method": "POST", "path": "/v1/traces", "headers": headers}
        answering = asyncio.create_task(HttpReceiver(intake)(scope, receive, send))
        while not journal.waiting:
            await asyncio.sleep(0.001)
        before = list(sent)
        journal.waiting.pop()(None)
        await answering
        return before, sent

    before, sent = asyncio.run(over_http())
    assert (before, sent[0]["status"]) == ([], 200)


# --------------------------------------------------------------------------- compression


def partly(accepts: str) -> Answer:
    """The answer to a request of which one span is wrong."""
    spans = [{"traceId": "ab" * 16, "spanId": span_id} for span_id in ("cd" * 8, "zz")]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    return posted(Intake({}), body, Content_Type=JSON, Accept_Encoding=accepts)


@pytest.mark.parametrize("accepts", ["gzip", "br, GZIP;q=0.5", "*"])
def test_H19_long_answers_are_compressed_for_who_takes_that(
    monkeypatch: pytest.MonkeyPatch, accepts: str
) -> None:
    monkeypatch.setattr("collector.receivers.http.COMPRESS_FROM_BYTES", 20)
    answer = partly(accepts)
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body))["partialSuccess"]["rejectedSpans"] == "1"
    assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize("accepts", ["", "br", "gzip;q=0", "identity, gzip; q=0.0"])
def test_H19_others_are_not(monkeypatch: pytest.MonkeyPatch, accepts: str) -> None:
    monkeypatch.setattr("collector.receivers.http.COMPRESS_FROM_BYTES", 20)
    assert "content-encoding" not in partly(accepts).headers


def test_H19_a_short_answer_is_never_compressed_and_none_is_long() -> None:
    assert "content-encoding" not in partly("gzip").headers
    answer = posted(Intake({}), b"", Content_Type="x" * 10_000)
    assert answer.status == 415
    assert len(answer.body) < 5000


# --------------------------------------------------------------------------- warnings


LIMITS = Limits(value_bytes=100, attributes=2)


def test_what_is_cut_is_a_warning_and_no_rejection() -> None:
    long_valued = traced()
    span = long_valued.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key="k").value.string_value = "x" * (WHOLE_BYTES + 1)
    for checked in (
        check(Signal.TRACES, long_valued.SerializeToString(), LIMITS),
        transcode(Signal.TRACES, to_json(long_valued), LIMITS),
    ):
        assert (checked.accepted, checked.rejected, checked.reasons) == (1, 0, "")
        assert checked.warnings == "1 × an item has values that are too long; they are cut"
    crowded = traced()
    for number in range(3):
        crowded.resource_spans[0].scope_spans[0].spans[0].attributes.add(key=str(number))
    for checked in (
        check(Signal.TRACES, crowded.SerializeToString(), LIMITS),
        transcode(Signal.TRACES, to_json(crowded), LIMITS),
    ):
        assert checked.warnings.startswith("1 × an item has more attributes")


def test_J4_an_enum_by_its_name_is_a_warning() -> None:
    spans = [{"traceId": "ab" * 16, "spanId": "cd" * 8, "kind": "SPAN_KIND_CLIENT"}]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    assert transcode(Signal.TRACES, body).warnings.startswith("1 × an enum is written as a name")


def test_a_peer_is_warned_once_in_ten_minutes_and_always_told_of_rejections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("collector.intake.intake.time.monotonic", lambda: now[0])
    intake = Intake({})
    warned = Outcome(Verdict.ACCEPTED, warning="cut")
    rejected = Outcome(Verdict.ACCEPTED, 1, "1 × bad", "cut")
    assert [intake.said(warned, "a") for _ in range(2)] == ["cut", ""]
    assert [intake.said(warned, "b"), intake.said(rejected, "b")] == ["cut", "1 × bad"]
    now[0] += WARN_EVERY_S
    assert intake.said(warned, "a") == "cut"
    assert intake.said(Outcome(Verdict.ACCEPTED), "a") == ""


def test_a_warning_comes_as_a_partial_success_of_nothing_on_both_transports() -> None:
    crowded = traced()
    for number in range(3):
        crowded.resource_spans[0].scope_spans[0].spans[0].attributes.add(key=str(number))
    body = crowded.SerializeToString()
    answers = [posted(Intake({}, limits=LIMITS), body, Content_Type=PROTOBUF).body]
    receiver = GrpcReceiver(Intake({}, limits=LIMITS), max_message_bytes=1 << 20, workers=2)
    port = receiver.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answers += [channel.unary_unary(TRACES)(body, timeout=PATIENCE_S) for _ in range(2)]
    finally:
        receiver.stop(0)
    first, second, third = map(ExportTraceServiceResponse.FromString, answers)
    for answer in (first, second):
        assert answer.partial_success.rejected_spans == 0
        assert "more attributes" in answer.partial_success.error_message
    assert not third.HasField("partial_success")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ["traceId", "spanId", "startTimeUnixNano", "kind", "attributes", "events", "status", "name"]
    ),
    st.sampled_from(["canary", ["canary"], {"canary": "canary"}, [{"key": "canary", "value": "canary"}]]),
    st.sampled_from([JSON, PROTOBUF, "canary/canary"]),
    st.sampled_from(["", "gzip", "canary"]),
)
def test_no_answer_repeats_what_was_in_the_body(
    field: str, wrong: object, content_type: str, encoding: str
) -> None:
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "note": "canary"} | {field: wrong}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    headers = {"Content_Encoding": encoding} if encoding else {}
    answer = posted(Intake({}), body, Content_Type=content_type, **headers)
    named = answer.body.replace(b"'canary/canary'", b"").replace(
        b"'canary'", b""
    )  # the headers, within 64 characters
    assert b"canary" not in named


def test_H3_a_path_that_is_there_twice_is_taken_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    receiver = HttpReceiver(Intake({}))

    async def send(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=receiver)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.post(path, content=b"", headers={"Content-Type": PROTOBUF})

    for _ in range(2):
        answer = asyncio.run(send("/v1/traces/v1/traces"))
        assert (answer.status_code, answer.content) == (200, b"")
    assert caplog.text.count("names its path twice") == 1


def test_H3_a_path_may_be_given_to_each_signal() -> None:
    protocol = HttpProtocol(traces_url_path="/my/spans", metrics_url_path="/")
    door, _ = open_http(protocol, Intake({}))

    async def statuses(*paths: str) -> list[int]:
        transport = httpx.ASGITransport(app=door)  # type: ignore[arg-type]  # as Starlette writes the same type
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            headers = {"Content-Type": PROTOBUF}
            return [(await client.post(path, content=b"", headers=headers)).status_code for path in paths]

    answers = asyncio.run(statuses("/my/spans", "/", "/v1/traces", "/x/v1/logs", "/my/spans/x", "/my"))
    assert answers == [200, 200, 200, 200, 404, 404]
    for wrong in ({"logs_url_path": "logs"}, {"logs_url_path": "/a", "traces_url_path": "/a"}):
        with pytest.raises(ValueError, match="url_path"):
            HttpProtocol(**wrong)


# --------------------------------------------------------------------------- other signals


def test_L3_L4_metrics_are_counted_and_answered_as_a_full_success() -> None:
    metrics = ExportMetricsServiceRequest()
    points = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points
    points.add()
    points.add()
    intake = Intake({})
    receiver = GrpcReceiver(intake, max_message_bytes=1 << 20, workers=2)
    port = receiver.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = channel.unary_unary(METRICS)(metrics.SerializeToString(), timeout=PATIENCE_S)
    finally:
        receiver.stop(0)
    assert not ExportMetricsServiceResponse.FromString(answer).HasField("partial_success")
    assert intake.stats.of("grpc", Signal.METRICS).accepted == 2


# --------------------------------------------------------------------------- gRPC


def test_G8_reflection_is_off(server: Server) -> None:
    with grpc.insecure_channel(server.endpoints["grpc"]) as channel:
        reflect = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.RpcError) as error:
            next(reflect(iter([b""]), timeout=PATIENCE_S))
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_G8_reflection_names_the_services_when_it_is_on() -> None:
    receiver = GrpcReceiver(Intake({}), max_message_bytes=1 << 20, workers=1, reflection=True)
    port = receiver.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            known = ProtoReflectionDescriptorDatabase(channel)
            assert set(known.get_services()) == {
                *(
                    f"opentelemetry.proto.collector.{name}Service"
                    for name in ("trace.v1.Trace", "logs.v1.Logs")
                ),
                "opentelemetry.proto.collector.metrics.v1.MetricsService",
                "grpc.health.v1.Health",
                "grpc.reflection.v1alpha.ServerReflection",
            }
            service = "opentelemetry.proto.collector.trace.v1.TraceService"
            [method] = DescriptorPool(known).FindServiceByName(service).methods
            assert method.name == "Export"
    finally:
        receiver.stop(0)


def test_G12_calls_beyond_those_that_may_wait_are_asked_to_come_back_at_once() -> None:
    journal = Held()
    intake = Intake({"traces": journal})  # type: ignore[dict-item]  # it keeps its callers waiting
    receiver = GrpcReceiver(intake, max_message_bytes=1 << 20, workers=1)
    port = receiver.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(TRACES)
            calls = [
                call.future(traced(name=str(number)).SerializeToString(), timeout=PATIENCE_S)
                for number in range(5)
            ]
            until(lambda: sum(call.done() for call in calls) == 3)
            refused = [call for call in calls if call.done()]
            assert {call.code() for call in refused} == {grpc.StatusCode.UNAVAILABLE}
            assert all(
                {"grpc-status-details-bin", "google.rpc.retryinfo-bin"}
                <= {key for key, _ in call.trailing_metadata()}
                for call in refused
            )
            for _ in range(2):  # one was held, one waited
                until(lambda: len(journal.waiting) > 0)
                journal.waiting.pop()(None)
            assert [call.result() for call in calls if call not in refused] == [b"", b""]
    finally:
        receiver.stop(0)
    assert intake.stats.of("grpc", Signal.TRACES).refused_requests == 3


def test_G13_the_handler_gets_the_bytes_as_they_came() -> None:
    class Details:
        method = TRACES

    handler = GrpcReceiver(Intake({}), max_message_bytes=1 << 20, workers=1).service(Details())
    assert (handler.request_deserializer, handler.response_serializer) == (None, None)


def test_G14_http_1_on_the_grpc_port_is_let_go_and_harms_nobody(server: Server) -> None:
    host, port = server.endpoints["grpc"].split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        answered = b""
        try:
            while part := connection.recv(4096):
                answered += part
        except ConnectionResetError:
            pass
    assert b"HTTP/1" not in answered
    with grpc.insecure_channel(server.endpoints["grpc"]) as channel:
        assert channel.unary_unary(TRACES)(b"", timeout=PATIENCE_S) == b""


# --------------------------------------------------------------------------- Unix sockets


def test_H23_both_transports_listen_on_unix_sockets(tmp_path: Path) -> None:
    http_socket, grpc_socket = tmp_path / "http.sock", tmp_path / "grpc.sock"
    data_dir = tmp_path / "data"
    server = Server(
        data_dir,
        *("--http", f"unix:{http_socket}", "--grpc", f"unix:{grpc_socket}"),
        *("--set", "receivers.otlp.protocols.grpc.socket_mode=0600"),
    ).start()
    assert stat.S_IMODE(http_socket.stat().st_mode) == 0o660
    assert stat.S_IMODE(grpc_socket.stat().st_mode) == 0o600
    assert server.endpoints["http"] == f"unix:{http_socket}"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(http_socket)), base_url="http://here") as client:
        for number in (1, 2):  # on one connection
            body = request(number).SerializeToString()
            assert (
                client.post("/v1/traces", content=body, headers={"Content-Type": PROTOBUF}).status_code == 200
            )
    with grpc.insecure_channel(server.endpoints["grpc"]) as channel:
        assert channel.unary_unary(TRACES)(request(3).SerializeToString(), timeout=PATIENCE_S) == b""
    server.settled()
    replayed = [
        CliRunner().invoke(main, ["journal", "replay", "--data-dir", str(data_dir), str(segment)]).output
        for segment in shutil.copytree(data_dir / "journal", tmp_path / "copy").rglob("traces/*.seg")
    ]
    assert sum(int(said.removesuffix(" records sent\n")) for said in replayed) == 3
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in server.log.read_text()
    assert len(server.runs(include="all")) == 3

    server.kill()  # its sockets stay where they are
    assert http_socket.exists()
    server.start()
    assert server.stop() == 0


def test_H23_a_socket_where_somebody_listens_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "taken.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            GrpcReceiver(Intake({}), max_message_bytes=1, workers=1).start(f"unix:{path}")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="in use"):
        GrpcReceiver(Intake({}), max_message_bytes=1, workers=1).start(f"unix:{tmp_path / 'file'}")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "taken.sock"}


@pytest.mark.parametrize("wrong", ["unix:relative.sock", "unix:", "unix:/" + "x" * 200])
def test_H23_a_path_that_can_not_be_is_an_error(wrong: str) -> None:
    with pytest.raises(ValueError, match="a Unix socket is"):
        HttpProtocol(endpoint=wrong)


def test_settings_that_contradict_each_other_are_errors() -> None:
    with pytest.raises(ValueError, match="client_ca_file"):
        TlsSettings(client_projects={"a": "b"})
    with pytest.raises(ValueError, match="drop_oldest"):
        JournalSettings(ack="sink", on_full="drop_oldest")
    with pytest.raises(ValueError, match="octal"):
        HttpProtocol(socket_mode="rw")


# --------------------------------------------------------------------------- sockets that outlive the collector


def test_T16_on_a_socket_that_is_held_open_nobody_is_turned_away_by_a_restart(data_dir: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        server = Server(
            data_dir, "--http", f"127.0.0.1:{listener.getsockname()[1]}", **handed_down(listener)
        ).start()
        url = f"{server.endpoints['http']}/v1/traces"
        headers = {"Content-Type": PROTOBUF}
        assert (
            httpx.post(url, content=request(0x6300001).SerializeToString(), headers=headers).status_code
            == 200
        )
        assert server.stop() == 0
        answers: list[int] = []

        def send() -> None:
            body = request(0x6300002).SerializeToString()
            answers.append(httpx.post(url, content=body, headers=headers, timeout=PATIENCE_S).status_code)

        sender = threading.Thread(target=send)
        sender.start()
        server.start()
        sender.join()
        assert answers == [200]
        server.settled()
        assert len(server.runs(include="all")) == 2
        assert server.stop() == 0
