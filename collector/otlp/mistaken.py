"""What a request is that was sent as another signal: all of it would be rejected, span by span, for no reason that
helps."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

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


FIRST = 100
"""Of a large request so many items are looked at."""


def mistaken(signal: Signal, body: bytes, limits: Limits) -> Signal | None:
    """The signal of a protobuf request of which nothing can be stored as `signal`; None if it is none of the others, or
    that can not be told."""
    if signal is not Signal.TRACES and count_if_well(Signal.TRACES, body, limits):
        return Signal.TRACES
    if signal is not Signal.LOGS and count_if_well(Signal.LOGS, body, limits):
        return Signal.LOGS
    if signal is not Signal.METRICS and any(
        (data := metric.WhichOneof("data")) and getattr(metric, data).data_points for metric in _metrics(body)
    ):
        return Signal.METRICS
    return None


def are_no_metrics(body: bytes) -> bool:
    """Whether what should be metrics has no names, which all metrics have."""
    metrics = _metrics(body)
    return bool(metrics) and not any(metric.name for metric in metrics)


def _metrics(body: bytes) -> list[Any]:
    """Metrics of a request, of a large one the first; none if it is no request of metrics."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    try:
        if len(body) > WHOLE_BYTES:
            body = cut(body, range(FIRST))
        if len(body) > WHOLE_BYTES:
            return []
        request = ExportMetricsServiceRequest.FromString(body)
    except DecodeError:
        return []
    return [
        metric
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
