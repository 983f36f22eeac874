"""What the structure check of a body costs against parsing it once with the stock classes (issue 4 asks for 1.5 times).

python -m tests.bench.bodies
"""

from __future__ import annotations

import time
from collections.abc import Callable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.otlp import Signal, check

SIZES = [16 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20]
SHAPES = {"1 KB in 2 attributes": (2, 1000), "1 KB in 15": (15, 1000), "2.3 KB in 15": (15, 2300)}
"""Attributes of a span, and its bytes."""
ROUNDS, ROUND_S = 7, 0.1


def request(attributes: int, span_bytes: int, size: int) -> bytes:
    """About `size` bytes. Half of a span lies in its longest value, as a text does in LLM spans."""
    made = ExportTraceServiceRequest()
    spans = made.resource_spans.add().scope_spans.add().spans
    for number in range(1, size // span_bytes + 1):
        span = spans.add(trace_id=number.to_bytes(16), span_id=number.to_bytes(8), name="chat")
        for place in range(attributes):
            value = "text " * (span_bytes // 10) if not place else "x" * (span_bytes // 2 // attributes - 40)
            span.attributes.add(key=f"gen_ai.attribute.number_{place}").value.string_value = value
    return made.SerializeToString()


def milliseconds(task: Callable[[], object]) -> float:
    """Of the processor, in the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began, times = time.thread_time(), 0
        while (spent := time.thread_time() - began) < ROUND_S or not times:
            task()
            times += 1
        best = min(best, spent / times)
    return best * 1000


def main() -> None:
    for name, (attributes, span_bytes) in SHAPES.items():
        for size in SIZES:
            body = request(attributes, span_bytes, size)
            spans = check(Signal.TRACES, body).accepted
            checking = milliseconds(lambda body=body: check(Signal.TRACES, body))  # type: ignore[misc]  # mypy infers no type for a default
            parsing = milliseconds(lambda body=body: ExportTraceServiceRequest.FromString(body))  # type: ignore[misc]  # the same
            print(
                f"{name:<21} {len(body) >> 10:>6} KiB {spans:>6} spans   check {checking:>7.2f} ms, "
                f"{checking / spans * 1000:>5.2f} us a span   parse {parsing:>7.2f} ms   {checking / parsing:.2f} times"
            )


if __name__ == "__main__":
    main()
