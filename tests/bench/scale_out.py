"""What one, two and three collectors on one ClickHouse cost: processor time of collectors and store apart.

    python -m tests.bench.scale_out [--spans 40000] [--workload gen_ai] [--collectors 1 2 3]

The store is the real engine behind ClickHouse's HTTP interface (`tests/clickhouse_front.py`); each round has a store of
its own. Spans of a run stay together, requests go to the collectors in turn, as a balancer in front of them sends. On a
machine with two cores more collectors do not mean more spans a second: what holds is what a span costs each, and that
this does not grow with their number.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.workloads import WORKLOADS, requests
from tests.clickhouse_front import Front
from tests.server import Server

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Round:
    collectors: int
    spans: int
    seconds: float
    collector_s: list[float]
    """Processor time of each collector."""
    store_s: float
    bytes: int
    """On the store's disk."""


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def measured(count: int, bodies: list[bytes], spans: int, directory: Path) -> Round:
    """One round with so many collectors."""
    front = Front(directory / "store").start()
    servers = [
        Server(
            directory / f"collector-{number}",
            *("--set", f"sinks.clickhouse.url={front.url}"),
            *("--set", f"loops.replicas={count}"),
        ).start()
        for number in range(count)
    ]
    pids = [server.process.pid for server in servers]
    before, store_before = [processor_s(pid) for pid in pids], processor_s(front.process.pid)
    began = time.monotonic()
    client = httpx.Client(timeout=60)
    for body, server in zip(bodies, itertools.cycle(servers), strict=False):
        while True:
            response = client.post(
                f"{server.endpoints['http']}/v1/traces",
                content=body,
                headers={"Content-Type": "application/x-protobuf"},
            )
            if response.status_code == 200:
                break
            time.sleep(0.1)
    for server in servers:
        server.settled(600)
    seconds = time.monotonic() - began
    if count > 1:
        time.sleep(12)  # two sweeps
    after, store_after = [processor_s(pid) for pid in pids], processor_s(front.process.pid)
    [[stored]] = front.query("SELECT count() FROM otel.otel_traces FINAL")
    assert int(stored) == spans, f"{stored} of {spans} are there"
    [[size]] = front.query("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'otel'")
    for server in servers:
        server.stop()
    front.stop()
    used = [now - then for now, then in zip(after, before, strict=True)]
    return Round(count, spans, seconds, used, store_after - store_before, int(size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--spans", type=int, default=40_000)
    parser.add_argument("--workload", choices=sorted(WORKLOADS), default="gen_ai")
    parser.add_argument("--collectors", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    print(
        f"{'collectors':>10} {'spans/s':>8} {'collectors µs/span':>19} {'each':>22} {'store µs/span':>14} {'B/span':>7}"
    )
    for number, count in enumerate(given.collectors):
        bodies: list[bytes] = []
        spans = 0
        for request in requests(WORKLOADS[given.workload], seed=number):
            bodies.append(request.SerializeToString())
            spans += sum(len(scope.spans) for scope in request.resource_spans[0].scope_spans)
            if spans >= given.spans:
                break
        with tempfile.TemporaryDirectory() as directory:
            one = measured(count, bodies, spans, Path(directory))
        micro = 1e6 / one.spans
        each = " ".join(f"{used * micro * count:.0f}" for used in one.collector_s)
        print(
            f"{one.collectors:>10} {one.spans / one.seconds:>8.0f} {sum(one.collector_s) * micro:>19.0f} {each:>22}"
            f" {one.store_s * micro:>14.0f} {one.bytes / one.spans:>7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
