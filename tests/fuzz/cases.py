"""What is sent to the collector: real requests to begin with, and what went wrong once."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from collector.otlp import Signal, transcode
from collector.otlp.cut import count, cut
from collector.otlp.status import JSON, PROTOBUF
from tests.corpus import captured, scenarios
from tests.otlp_json import to_json

CORPUS = Path(__file__).parent / "corpus"
SEED_BYTES = 6_000
"""Of larger payloads the first items are taken: what is mutated at one place of a hundred is hardly mutated."""
GRPC = "grpc"
"""In the place of a content type: sent by the other transport, as protobuf."""
PACKERS = {
    "": lambda body: body,
    "identity": lambda body: body,
    "gzip": lambda body: gzip.compress(body, 1),
    "deflate": lambda body: zlib.compress(body, 1),
    "zstd": lambda body: zstandard.ZstdCompressor(level=1).compress(body),
}
"""How a body is packed, by its Content-Encoding."""


@dataclass(frozen=True)
class Case:
    """A request: its signal, content type and encoding, and the body as it is on the wire."""

    signal: Signal
    content_type: str
    encoding: str
    body: bytes

    @property
    def data(self) -> bytes:
        """As it lies in a file: a line that says what is sent how, then the body."""
        return f"{self.signal}\t{self.content_type}\t{self.encoding}\n".encode() + self.body

    @classmethod
    def of(cls, data: bytes) -> Case:
        line, _, body = data.partition(b"\n")
        signal, content_type, encoding = line.decode().split("\t")
        return cls(Signal(signal), content_type, encoding, body)

    @property
    def is_json(self) -> bool:
        return self.content_type.startswith(JSON)

    def packed(self, body: bytes) -> Case:
        """The same request with another body, in its encoding if that is one."""
        return replace(self, body=PACKERS.get(self.encoding, PACKERS[""])(body))


def found() -> dict[str, Case]:
    """What went wrong once, or is meant to be hard, by the file's name."""
    return {file.name: Case.of(file.read_bytes()) for file in sorted(CORPUS.iterdir())}


def seeds(every: int = 1) -> Iterator[Case]:
    """A request of each instrumentation that was captured, or of `every` so many, by each transport; and one of each
    signal that has all there is."""
    captures: dict[tuple[Path, Signal], Path] = {}
    for scenario in (*scenarios(), *captured()):
        for signal, files in ((Signal.TRACES, scenario.traces), (Signal.LOGS, scenario.logs)):
            for file in files[:1]:
                captures.setdefault((file.parent, signal), file)
    for (_, signal), file in islice(captures.items(), 0, None, every):
        body = file.read_bytes()
        yield from _sent(signal, transcode(signal, body).body if file.suffix == ".json" else body)
    for signal, made in ((Signal.TRACES, _traces()), (Signal.LOGS, _logs()), (Signal.METRICS, _metrics())):
        yield from _sent(signal, made.SerializeToString())


def _sent(signal: Signal, body: bytes) -> Iterator[Case]:
    if signal is Signal.METRICS:
        request = ExportMetricsServiceRequest.FromString(body)
    else:
        items = count(body)
        while len(body) > SEED_BYTES and items > 1:
            items //= 2
            body = cut(body, range(items))
        message = ExportTraceServiceRequest if signal is Signal.TRACES else ExportLogsServiceRequest
        request = message.FromString(body)
    yield Case(signal, GRPC, "", body)
    for content_type, sent in ((PROTOBUF, body), (JSON, to_json(request))):
        yield Case(signal, content_type, "", sent)


def _attributes(owner: Any) -> None:
    """An attribute of each type, and a list and a map of each, down to a map in a list in a map."""
    values: list[AnyValue] = [
        AnyValue(),
        AnyValue(string_value="text"),
        AnyValue(bool_value=True),
        AnyValue(int_value=-5),
        AnyValue(double_value=0.5),
        AnyValue(bytes_value=b"\0\xff"),
    ]
    for _ in range(3):
        values = [
            *values,
            AnyValue(array_value=ArrayValue(values=values)),
            AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="key", value=values[-1])])),
        ]
    for value in values:
        owner.attributes.add(key=f"{value.WhichOneof('value')} {len(owner.attributes)}", value=value)


def _shared(owner: Any) -> None:
    """A resource and its scope, with all they may have."""
    owner.schema_url = "https://opentelemetry.io/schemas/1.30.0"
    _attributes(owner.resource)
    owner.resource.dropped_attributes_count = 1


def _scope(scoped: Any) -> Any:
    scoped.schema_url = "https://opentelemetry.io/schemas/1.31.0"
    scoped.scope.name, scoped.scope.version = "a.scope", "1.0"
    scoped.scope.dropped_attributes_count = 1
    _attributes(scoped.scope)
    return scoped


def _traces() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    _shared(resource)
    scope = _scope(resource.scope_spans.add())
    for number in range(2):
        span = scope.spans.add(
            trace_id=b"0123456789abcdef",
            span_id=b"span-%03d" % number,
            parent_span_id=b"span-000" if number else b"",
            trace_state="a=b",
            name="a name",
            kind=3,
            start_time_unix_nano=1_790_000_000 * 10**9,
            end_time_unix_nano=1_790_000_001 * 10**9,
            dropped_attributes_count=1,
            dropped_events_count=2,
            dropped_links_count=3,
            flags=0x101,
        )
        span.status.code, span.status.message = 2, "what went wrong"
        event = span.events.add(
            time_unix_nano=1_790_000_000_500_000_000, name="exception", dropped_attributes_count=1
        )
        link = span.links.add(
            trace_id=b"another trace id",
            span_id=b"another1",
            trace_state="c=d",
            dropped_attributes_count=1,
            flags=1,
        )
        for owner in (span, event, link):
            _attributes(owner)
    return request


def _logs() -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    _shared(resource)
    scope = _scope(resource.scope_logs.add())
    for number in range(2):
        record = scope.log_records.add(
            time_unix_nano=1_790_000_000 * 10**9,
            observed_time_unix_nano=1_790_000_001 * 10**9,
            severity_number=9,
            severity_text="INFO",
            event_name="gen_ai.user.message",
            dropped_attributes_count=1,
            flags=1,
            trace_id=b"0123456789abcdef",
            span_id=b"span-%03d" % number,
        )
        _attributes(record)
        record.body.CopyFrom(record.attributes[-1].value)
    return request


def _metrics() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    _shared(resource)
    scope = _scope(resource.scope_metrics.add())
    of_each = [scope.metrics.add(name=name, description="what it is", unit="{token}") for name in "abcde"]
    of_each[0].gauge.data_points.add(as_int=5).exemplars.add(
        as_double=0.5, span_id=b"span-000", trace_id=b"0123456789abcdef"
    )
    of_each[1].sum.data_points.add(as_double=0.5)
    of_each[2].histogram.data_points.add(count=2, sum=3.5, bucket_counts=[1, 1], explicit_bounds=[2.0])
    buckets = of_each[3].exponential_histogram.data_points.add(count=2, scale=1, zero_count=1)
    buckets.positive.bucket_counts.append(1)
    of_each[4].summary.data_points.add(count=1, sum=2.0).quantile_values.add(quantile=0.5, value=2.0)
    for metric, data in zip(
        of_each, ("gauge", "sum", "histogram", "exponential_histogram", "summary"), strict=True
    ):
        _attributes(getattr(metric, data).data_points[0])
    return request
