"""How long what is sent now takes to be seen while a backlog is stored, and how long that takes.

    python -m tests.bench.backlog [--spans 200000] [--workload agents] [--rounds 1]

A journal that an earlier process filled is given to a collector. From its start on small runs are sent, each when the
one before can be asked for.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.journal import Header, Journal
from tests.bench.scale_out import processor_s
from tests.bench.workloads import WORKLOADS, Workload, requests
from tests.server import Server

LOOK_S = 0.5


@dataclass(frozen=True)
class Round:
    drained_s: float
    """From when it was ready until all was stored."""
    cpu_s: float
    seen_s: list[float]
    """From the acknowledgement of each run that was sent meanwhile until it could be asked for."""


def fill(directory: Path, workload: Workload, spans: int) -> None:
    """A journal with so many spans."""
    directory.mkdir(parents=True)
    journal = Journal(directory / "traces", ack="write")
    journal.open()
    written = 0
    for request in requests(workload):
        items = sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        done = threading.Event()
        header = Header(time.time_ns(), transport="http", items=items)
        journal.append(header, request.SerializeToString(), lambda _, done=done: done.set())
        done.wait()
        written += items
        if written >= spans:
            break
    journal.close()


def run(number: int) -> ExportTraceServiceRequest:
    """A run of one span, like no other."""
    request = ExportTraceServiceRequest()
    now = time.time_ns()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=(now << 32 | number).to_bytes(16, "big"),
        span_id=(number + 1).to_bytes(8, "big"),
        name="sent now",
        start_time_unix_nano=now,
        end_time_unix_nano=now + 1,
    )
    return request


def measured(journal: Path, directory: Path) -> Round:
    shutil.copytree(journal, directory / "data" / "journal")
    server = Server(directory / "data").start()
    began, cpu = time.monotonic(), processor_s(server.process.pid)
    seen = []
    for number in itertools.count():
        if not server.get("/status")["pipeline"]["queued"]:
            break
        request = run(number)
        sent = httpx.post(
            f"{server.endpoints['http']}/v1/traces",
            content=request.SerializeToString(),
            headers={"Content-Type": "application/x-protobuf"},
            timeout=60,
        )
        assert sent.status_code == 200, sent.text
        at = time.monotonic()
        run_id = request.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
        while server.api.get(f"/api/v1/runs/{run_id}").status_code == 404:
            time.sleep(LOOK_S)
        seen.append(time.monotonic() - at)
        time.sleep(1)
    server.settled(600)
    drained, used = time.monotonic() - began, processor_s(server.process.pid) - cpu
    server.stop()
    return Round(drained, used, seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--workload", choices=WORKLOADS, default="agents")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        journal = Path(base, "filled", "journal")
        fill(journal, WORKLOADS[options.workload], options.spans)
        for number in range(options.rounds):
            found = measured(journal, Path(base, str(number)))
            seen = sorted(found.seen_s)
            print(
                f"drained in {found.drained_s:.1f} s, {found.cpu_s:.1f} s of CPU;"
                f" {len(seen)} runs sent meanwhile were seen after {median(seen):.2f} s, at most {seen[-1]:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
