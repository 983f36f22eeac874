"""The stock Python exporters, configured by `OTEL_EXPORTER_OTLP_ENDPOINT` alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.server import Server

SEND = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
import importlib, sys
exporter = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{sys.argv[1]}.trace_exporter")
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter.OTLPSpanExporter()))
tracer = provider.get_tracer("test")
agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
with tracer.start_as_current_span("invoke_agent weather", attributes=agent) as root:
    for _ in range(3):
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}
        with tracer.start_as_current_span("execute_tool get_weather", attributes=tool):
            pass
provider.shutdown()
print(format(root.get_span_context().trace_id, "032x"))
"""


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_run_is_delivered_without_a_warning(server: Server, transport: str) -> None:
    door = f"http://{server.endpoints['grpc']}" if transport == "grpc" else server.endpoints["http"]
    sent = subprocess.run(
        [sys.executable, "-W", "always", "-c", SEND, transport],
        env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": door},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (sent.returncode, sent.stderr) == (0, "")
    server.settled()
    run = server.get(f"/runs/{sent.stdout.strip()}")
    assert (run["name"], run["status"], run["counts"]["tool_calls"]) == (
        "invoke_agent weather",
        "completed",
        3,
    )
