"""What is sent to the collector: real requests to begin with, and what went wrong once."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

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
    """A request of each instrumentation that was captured, or of `every` so many, by each transport; and one of
    metrics."""
    captures: dict[tuple[Path, Signal], Path] = {}
    for scenario in (*scenarios(), *captured()):
        for signal, files in ((Signal.TRACES, scenario.traces), (Signal.LOGS, scenario.logs)):
            for file in files[:1]:
                captures.setdefault((file.parent, signal), file)
    for (_, signal), file in islice(captures.items(), 0, None, every):
        body = file.read_bytes()
        yield from _sent(signal, transcode(signal, body).body if file.suffix == ".json" else body)
    yield from _sent(Signal.METRICS, _metrics())


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


def _metrics() -> bytes:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    scope.metrics.add(name="gen_ai.client.token.usage").histogram.data_points.add(count=2, sum=3.5)
    scope.metrics.add(name="gauge").gauge.data_points.add(as_int=5)
    scope.metrics.add(name="sum").sum.data_points.add(as_double=0.5)
    serialized: bytes = request.SerializeToString()
    return serialized
