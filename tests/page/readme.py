"""`make pictures`: the pictures of the page in the README, made anew of captured runs. Needs what
`make test-page` does."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.corpus import scenarios
from tests.sending import http_protobuf, renamed
from tests.server import TOKEN, Server

HERE = Path(__file__).parent
IMAGES = HERE.parent.parent / "deploy" / "images"
PROJECTS = ("shop", "support", "research")
DAY_NS = 86_400 * 10**9
NEWEST_NS = 60 * 10**9
"""Before now: what is so young may still go on."""


def moved(body: bytes, end_ns: int) -> bytes:
    """The same spans, the last of which ends then."""
    request = ExportTraceServiceRequest.FromString(body)
    spans = [
        span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]
    by_ns = end_ns - max(span.end_time_unix_nano for span in spans)
    for span in spans:
        span.start_time_unix_nano += by_ns
        span.end_time_unix_nano += by_ns
        for event in span.events:
            event.time_unix_nano += by_ns
    return bytes(request.SerializeToString())


def main() -> None:
    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder)).start()
        try:
            now_ns = time.time_ns()
            for number, scenario in enumerate(scenarios()):
                ended_ns = now_ns - NEWEST_NS - int(DAY_NS * chance.random() ** 2)
                if scenario.logs:  # which would have to move as well
                    continue
                for file in (file for file in scenario.traces if file.suffix == ".pb"):
                    body = renamed(file.read_bytes(), number % 251, spans=True)
                    http_protobuf(server, moved(body, ended_ns), PROJECTS[number % len(PROJECTS)])
            server.settled()
            environ = {
                "EDDYLINE_HTTP": server.endpoints["http"],
                "EDDYLINE_API": server.endpoints["api"],
                "EDDYLINE_TOKEN": TOKEN,
                "SHOTS": str(IMAGES),
            }
            subprocess.run(
                ["node", "scenarios.mjs", "readme"], cwd=HERE, env=os.environ | environ, check=True
            )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
