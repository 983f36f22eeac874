"""Metrics as Prometheus' library holds them, as an OTLP request: the same names, labels and numbers.

A counter's name has no `_total`, as with the OpenTelemetry collector: that is how Prometheus writes it, and adds it by
itself to what comes by OTLP. All sums are cumulative, from the start of the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

SCOPE = "eddyline"
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def request_of(
    families: Iterable[Metric], resource: Mapping[str, str], *, version: str, started_ns: int, now_ns: int
) -> bytes:
    """The request in protobuf.

    Args:
        resource: attributes of what the metrics are of.
        started_ns: from when sums count.
    """
    request = ExportMetricsServiceRequest()
    told = request.resource_metrics.add()
    _label(told.resource.attributes, resource)
    scope = told.scope_metrics.add()
    scope.scope.name, scope.scope.version = SCOPE, version
    for family in families:
        if not family.samples:
            continue
        metric = scope.metrics.add(name=family.name, description=family.documentation)
        if family.type == "histogram":
            metric.histogram.aggregation_temporality = CUMULATIVE
            for labels, samples in _by_labels(family.samples):
                spread = metric.histogram.data_points.add(
                    start_time_unix_nano=started_ns, time_unix_nano=now_ns
                )
                _label(spread.attributes, labels)
                _distribute(spread, samples, family.name)
            continue
        is_counter = family.type == "counter"
        kind = metric.sum if is_counter else metric.gauge
        if is_counter:
            metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, CUMULATIVE
        for sample in family.samples:
            if sample.name == f"{family.name}_created":
                continue
            point = kind.data_points.add(time_unix_nano=now_ns, as_double=float(sample.value))
            if is_counter:
                point.start_time_unix_nano = started_ns
            _label(point.attributes, sample.labels)
    return bytes(request.SerializeToString())


def _by_labels(samples: Iterable[Sample]) -> Iterable[tuple[dict[str, str], list[Sample]]]:
    """Samples of a histogram that belong together, in their order."""
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        found.setdefault(labels, []).append(sample)
    return [(dict(labels), together) for labels, together in found.items()]


def _distribute(point: Any, samples: Iterable[Sample], name: str) -> None:
    """Fills a point of a histogram: Prometheus counts all that is below a bound, OTLP what lies between two."""
    below = 0
    for sample in samples:
        if sample.name == f"{name}_bucket":
            point.bucket_counts.append(int(sample.value) - below)
            below = int(sample.value)
            if sample.labels["le"] != "+Inf":
                point.explicit_bounds.append(float(sample.labels["le"]))
        elif sample.name == f"{name}_sum":
            point.sum = sample.value
    point.count = below


def _label(attributes: Any, labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        attributes.add(key=key).value.string_value = value
