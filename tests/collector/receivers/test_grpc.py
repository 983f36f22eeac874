"""OTLP/gRPC as exporters meet it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.intake.intake import Intake, Submission
from collector.intake.outcome import Outcome
from collector.otlp import Signal
from collector.receivers.grpc import GrpcReceiver
from tests.collector.receivers.test_http import broken, request
from tests.sending import LOGS, TRACES
from tests.server import Server
from tests.waiting import PATIENCE_S, until

METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


@pytest.fixture
def channel(server: Server) -> Any:
    with grpc.insecure_channel(server.endpoints["grpc"]) as opened:
        yield opened


def code_of(error: pytest.ExceptionInfo[grpc.RpcError]) -> Any:
    return error.value.code()


@pytest.mark.parametrize("method", [TRACES, LOGS, METRICS])
def test_G1_every_signal_is_answered(channel: grpc.Channel, method: str) -> None:
    assert channel.unary_unary(method)(b"", timeout=PATIENCE_S) == b""


def test_L1_metrics_are_answered_in_their_own_words(channel: grpc.Channel) -> None:
    answer = channel.unary_unary(METRICS)(b"", timeout=PATIENCE_S)
    assert ExportMetricsServiceResponse.FromString(answer) == ExportMetricsServiceResponse()


def test_G2_compressed_messages_are_taken(channel: grpc.Channel, server: Server) -> None:
    body = request(0x6000001).SerializeToString()
    assert channel.unary_unary(TRACES)(body, timeout=PATIENCE_S, compression=grpc.Compression.Gzip) == b""
    server.settled()
    assert server.get(f"/runs/{(b'http' + (0x6000001).to_bytes(12, 'big')).hex()}")["counts"]["spans"] == 1


def test_G2_other_compressions_are_unimplemented(channel: grpc.Channel) -> None:
    body = request(0x6000009).SerializeToString()
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(TRACES)(body, timeout=PATIENCE_S, compression=grpc.Compression.Deflate)
    assert code_of(error) == grpc.StatusCode.UNIMPLEMENTED


def test_G1_profiles_are_unimplemented(channel: grpc.Channel) -> None:
    method = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(method)(b"", timeout=PATIENCE_S)
    assert code_of(error) == grpc.StatusCode.UNIMPLEMENTED


def test_P3_a_bad_id_costs_one_span(channel: grpc.Channel) -> None:
    answer = channel.unary_unary(TRACES)(
        broken(0x6000002, span_id=b"x").SerializeToString(), timeout=PATIENCE_S
    )
    assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 1


def test_F1_what_is_not_otlp_is_an_invalid_argument(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(TRACES)(b"nonsense", timeout=PATIENCE_S)
    assert code_of(error) == grpc.StatusCode.INVALID_ARGUMENT


def test_G3_messages_beyond_4_mib_are_taken_and_beyond_the_limit_refused(server: Server) -> None:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.endpoints["grpc"], options=options) as channel:
        large = request(0x6000003)
        large.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="big").value.string_value = "x" * (
            6 << 20
        )
        answer = channel.unary_unary(TRACES)(large.SerializeToString(), timeout=PATIENCE_S)
        said = ExportTraceServiceResponse.FromString(answer).partial_success
        assert said.rejected_spans == 0
        assert "they are cut" in said.error_message or not said.error_message  # one who was warned knows
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(TRACES)(b"\0" * (65 << 20), timeout=PATIENCE_S)
    assert code_of(error) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_G3_what_grpc_refuses_by_itself_is_counted() -> None:
    intake = Intake({})
    receiver = GrpcReceiver(intake, max_message_bytes=1 << 20, workers=2)
    port = receiver.start("127.0.0.1:0")
    counted = intake.stats.of("grpc", Signal.LOGS)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            export = channel.unary_unary(LOGS)
            assert export(b"", timeout=PATIENCE_S) == b""
            asked = health_pb2.HealthCheckRequest()
            health_pb2_grpc.HealthStub(channel).Check(asked, timeout=PATIENCE_S)
            assert (counted.requests, counted.unread_requests) == (1, 0)
            too_large = b"\0" * ((1 << 20) + 1)
            for number, compression in enumerate((grpc.Compression.NoCompression, grpc.Compression.Gzip), 1):
                with pytest.raises(grpc.RpcError) as error:
                    export(too_large, timeout=PATIENCE_S, compression=compression)
                assert code_of(error) == grpc.StatusCode.RESOURCE_EXHAUSTED
                until(lambda number=number: counted.unread_requests == number)
            assert export(b"", timeout=PATIENCE_S) == b""
    finally:
        receiver.stop(1)
    assert (counted.requests, counted.unread_requests, counted.bad_requests) == (4, 2, 0)
    assert intake.stats.of("grpc", Signal.TRACES).unread_requests == 0


def test_G7_health_is_served(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", *(method.split("/")[1] for method in (TRACES, LOGS, METRICS))):
        asked = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(asked, timeout=PATIENCE_S).status == health_pb2.HealthCheckResponse.SERVING


def test_while_draining_clients_are_asked_to_come_back() -> None:
    intake = Intake({})
    intake.draining = True
    receiver = GrpcReceiver(intake, max_message_bytes=1 << 20, workers=2)
    port = receiver.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(TRACES)(b"", timeout=PATIENCE_S)
    finally:
        receiver.stop(1)
    assert code_of(error) == grpc.StatusCode.UNAVAILABLE
    trailers = dict(error.value.trailing_metadata())
    assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds == 1
    status = Status.FromString(trailers["grpc-status-details-bin"])
    packed = RetryInfo()
    assert status.details[0].Unpack(packed)
    assert packed.retry_delay.seconds == 1


def test_G6_an_endpoint_that_is_taken_is_an_error(server: Server) -> None:
    receiver = GrpcReceiver(Intake({}), max_message_bytes=1 << 20, workers=1)
    with pytest.raises(OSError, match="Failed to bind"):
        receiver.start(server.endpoints["grpc"])
    receiver.stop(0)


def test_a_fault_of_ours_asks_for_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Outcome] = []
    intake = Intake({})
    monkeypatch.setattr("collector.intake.intake.check", lambda *_: 1 / 0)
    intake.take(Submission(Signal.TRACES, b"x", "grpc"), outcomes.append)
    assert [outcome.verdict.value for outcome in outcomes] == ["refused"]
