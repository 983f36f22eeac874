"""The stock JavaScript exporters, configured by `OTEL_EXPORTER_OTLP_ENDPOINT` alone. Run by `make test-js`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.server import Server

HERE = Path(__file__).parent


@pytest.mark.parametrize("transport", ["json", "proto", "grpc"])
def test_a_run_is_delivered_without_a_warning(server: Server, transport: str) -> None:
    door = f"http://{server.endpoints['grpc']}" if transport == "grpc" else server.endpoints["http"]
    sent = subprocess.run(
        ["node", "send.mjs", transport],
        cwd=HERE,
        env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": door},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert sent.stderr == ""
    server.settled()
    run = server.get(f"/runs/{sent.stdout.strip()}")
    assert (run["name"], run["status"]) == ("invoke_agent weather", "completed")
    assert (run["counts"]["llm_calls"], run["tools"]) == (1, ["get_weather"])
    assert run["usage"]["total"] == 120
