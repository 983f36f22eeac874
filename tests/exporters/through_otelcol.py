"""Writes log lines at an even pace, which the OpenTelemetry collector reads from their file and passes on.

    python through_otelcol.py OTELCOL SECONDS

The environment says where to, over HTTP (`OTEL_EXPORTER_OTLP_…`). Prints how many lines it wrote.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PER_SECOND = 90
PATIENCE_S = 25
"""How long the collector has afterwards for what it still holds: it waits 5 s before it tries again, then longer."""

otelcol, seconds = sys.argv[1:]
with tempfile.TemporaryDirectory() as directory:
    lines = Path(directory, "lines")
    lines.touch()
    project = os.environ["OTEL_EXPORTER_OTLP_HEADERS"].partition("=")[2]
    config = {
        "receivers": {"filelog": {"include": [str(lines)], "start_at": "beginning"}},
        "exporters": {
            "otlphttp": {
                "endpoint": os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"],
                "headers": {"x-loop-project": project},
            }
        },
        "service": {
            "pipelines": {"logs": {"receivers": ["filelog"], "exporters": ["otlphttp"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    Path(directory, "config.yaml").write_text(json.dumps(config))
    process = subprocess.Popen([otelcol, "--config", f"{directory}/config.yaml"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + float(seconds)
    made = 0
    with lines.open("a", buffering=1) as file:
        while time.monotonic() < until:
            file.write(f"line {made}\n")
            made += 1
            time.sleep(1 / PER_SECOND)
    time.sleep(PATIENCE_S)
    process.terminate()
    process.wait()
print(made)
