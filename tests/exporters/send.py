"""Sends spans at an even pace through a stock exporter, as a program would that knows nothing of the collector.

    python send.py http|grpc SECONDS

The environment says where to (`OTEL_EXPORTER_OTLP_…`). Prints how many it made.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

PER_SECOND = 90

transport, seconds = sys.argv[1:]
logging.disable(logging.CRITICAL)  # what it loses is counted where it should have come
exporter = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{transport}.trace_exporter")
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter.OTLPSpanExporter(), schedule_delay_millis=500))
tracer = provider.get_tracer("exporters")
until = time.monotonic() + float(seconds)
made = 0
while time.monotonic() < until:
    tracer.start_span(f"span {made}").end()
    made += 1
    time.sleep(1 / PER_SECOND)
provider.shutdown()
print(made)
