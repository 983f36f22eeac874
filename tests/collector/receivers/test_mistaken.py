"""Requests of one signal sent as another: each of the six pairs is refused, in both encodings, over both transports,
with words that name the right path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from collector.otlp import NotOtlpError, Signal, check
from tests.collector.receivers.test_grpc import METRICS
from tests.collector.receivers.test_http import JSON, PROTOBUF, post, request
from tests.otlp_json import to_json
from tests.sending import LOGS, TRACES
from tests.server import Server
from tests.waiting import PATIENCE_S

NOW = 1_790_000_000 * 10**9
METHODS = {Signal.TRACES: TRACES, Signal.LOGS: LOGS, Signal.METRICS: METRICS}
PAIRS = [(sent, to) for sent in Signal for to in Signal if sent is not to]


def metrics_of(*metrics: Metric) -> ExportMetricsServiceRequest:
    made = ExportMetricsServiceRequest()
    made.resource_metrics.add().scope_metrics.add().metrics.extend(metrics)
    return made


def counted(name: str = "tokens", description: str = "") -> Metric:
    made = Metric(name=name, description=description, unit="{token}")
    made.sum.data_points.add(as_int=7, time_unix_nano=NOW, start_time_unix_nano=NOW)
    return made


def every_kind() -> list[Metric]:
    """A metric of each kind; a sum and a summary can be read as log records that say nothing."""
    gauge = Metric(name="load")
    gauge.gauge.data_points.add(as_double=0.5, time_unix_nano=NOW)
    histogram = Metric(name="gen_ai.client.operation.duration", unit="s")
    histogram.histogram.data_points.add(count=1, sum=2.0, time_unix_nano=NOW, bucket_counts=[0, 1])
    exponential = Metric(name="wait")
    exponential.exponential_histogram.data_points.add(count=1, time_unix_nano=NOW)
    summary = Metric(name="latency")
    summary.summary.data_points.add(count=1, time_unix_nano=NOW)
    return [counted(), gauge, histogram, exponential, summary]


def logs() -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    records = made.resource_logs.add().scope_logs.add().log_records
    records.add(time_unix_nano=NOW, event_name="gen_ai.choice").body.string_value = "said"
    records.add(observed_time_unix_nano=NOW, trace_id=b"t" * 16, span_id=b"s" * 8)
    return made


SENT: dict[Signal, Callable[[], Any]] = {
    Signal.TRACES: lambda: request(0x7700001, spans=3),
    Signal.LOGS: logs,
    Signal.METRICS: lambda: metrics_of(*every_kind()),
}


@pytest.mark.parametrize(("sent", "to"), PAIRS)
@pytest.mark.parametrize("encoding", ["protobuf", "json", "grpc"])
def test_P10_each_signal_sent_as_another_is_told_its_path(
    server: Server, sent: Signal, to: Signal, encoding: str
) -> None:
    made = SENT[sent]()
    if encoding == "grpc":
        with (
            grpc.insecure_channel(server.endpoints["grpc"]) as channel,
            pytest.raises(grpc.RpcError) as error,
        ):
            channel.unary_unary(METHODS[to])(made.SerializeToString(), timeout=PATIENCE_S)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        said = error.value.details()
    elif encoding == "json":
        response = post(server, to_json(made), f"/v1/{to}", Content_Type=JSON)
        assert response.status_code == 400
        said = response.json()["message"]
    else:
        response = post(server, made.SerializeToString(), f"/v1/{to}", Content_Type=PROTOBUF)
        assert response.status_code == 400
        said = Status.FromString(response.content).message
    assert f"holds {sent}" in said
    assert f"/v1/{sent}" in said


@pytest.mark.parametrize("metric", every_kind(), ids=lambda metric: str(metric.WhichOneof("data")))
@pytest.mark.parametrize("to", [Signal.TRACES, Signal.LOGS])
@pytest.mark.parametrize("how_many", [1, 5000], ids=["small", "large"])
def test_P10_metrics_of_one_kind_are_told_apart(metric: Metric, to: Signal, how_many: int) -> None:
    body = metrics_of(*[metric] * how_many).SerializeToString()
    with pytest.raises(NotOtlpError, match="holds metrics"):
        check(to, body)


def test_P10_a_sum_whose_texts_are_as_long_as_ids_is_no_span() -> None:
    with pytest.raises(NotOtlpError, match="holds metrics"):
        check(Signal.TRACES, metrics_of(counted("n" * 16, "d" * 8)).SerializeToString())


def test_P10_spans_without_attributes_are_no_log_records() -> None:
    made = request(1)
    made.resource_spans[0].scope_spans[0].spans[0].name = ""
    with pytest.raises(NotOtlpError, match="holds traces"):
        check(Signal.LOGS, made.SerializeToString())


def test_P10_logs_that_are_read_as_metrics_lack_their_names() -> None:
    made = ExportLogsServiceRequest()
    made.resource_logs.add().scope_logs.add().log_records.add(severity_text="INFO")
    with pytest.raises(NotOtlpError, match="another signal than metrics"):
        check(Signal.METRICS, made.SerializeToString())


def test_spans_and_log_records_without_times_are_taken() -> None:
    timeless = ExportTraceServiceRequest()
    timeless.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, kind=3)
    assert check(Signal.TRACES, timeless.SerializeToString()).accepted == 1
    records = ExportLogsServiceRequest()
    records.resource_logs.add().scope_logs.add().log_records.add(event_name="x", severity_text="INFO")
    assert check(Signal.LOGS, records.SerializeToString()).accepted == 1


def test_metrics_are_still_counted() -> None:
    assert check(Signal.METRICS, metrics_of(*every_kind()).SerializeToString()).accepted == 5
    assert check(Signal.METRICS, metrics_of(*[counted()] * 6000).SerializeToString()).accepted == 6000
