"""What a request is that was sent as another signal: all of it would be rejected, span by span, for no reason that
helps."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from collector.otlp import messages
from collector.otlp.cut import cut
from collector.otlp.limits import Limits
from collector.otlp.signal import Signal
from collector.otlp.together import WHOLE_BYTES, count_if_well

JSON_NAMES = {
    Signal.TRACES: "resourceSpans",
    Signal.LOGS: "resourceLogs",
    Signal.METRICS: "resourceMetrics",
}
"""What a request in JSON has its resources by."""


def mistaken(signal: Signal, body: bytes, limits: Limits) -> Signal | None:
    """The signal of a protobuf request of which nothing can be stored as `signal`; None if it is none of the others, or
    that can not be told."""
    if signal is not Signal.TRACES and count_if_well(Signal.TRACES, body, limits):
        return Signal.TRACES
    if signal is not Signal.LOGS and count_if_well(Signal.LOGS, body, limits) and _has_a_time(body):
        return Signal.LOGS
    return Signal.METRICS if len(body) <= WHOLE_BYTES and _has_data_points(body) else None


def _has_a_time(body: bytes) -> bool:
    """Whether the first log record says when it was: what is none has no time where these have it."""
    request = messages.LogsRequest.FromString(cut(body, {0}))
    [record] = request.resource_logs[0].scope_logs[0].log_records
    return bool(record.time_unix_nano or record.observed_time_unix_nano)


def _has_data_points(body: bytes) -> bool:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    try:
        request = ExportMetricsServiceRequest.FromString(body)
    except DecodeError:
        return False
    return any(
        (data := metric.WhichOneof("data")) and getattr(metric, data).data_points
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )
