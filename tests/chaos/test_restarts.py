"""The collector is killed, or ended, again and again under load: nothing acknowledged is lost, nothing counts twice.

With doors in processes of their own as without, whichever process it is.

Run by `make chaos`; `CHAOS_ROUNDS` sets how often (T1: 50 kills, T2: 20 ends).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.server import Server
from tests.waiting import until

SPANS = 20
WORKERS = 4
RATE = 2000
"""Spans a second, of all workers."""

COUNT = """
import sys
from pathlib import Path
from sinks.clickhouse import Store
store = Store.open(Path(sys.argv[1]))
ask = lambda sql: store.query(sql)[0][0]
print(ask("SELECT count() FROM otel.otel_traces"), ask("SELECT count() FROM otel.otel_traces FINAL"))
print(ask("SELECT sum(Spans) FROM otel.runs_current"))
for (span,) in store.query("SELECT DISTINCT SpanId FROM otel.otel_traces"):
    print(span)
"""


def request(first: int) -> bytes:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number in range(first, first + SPANS):
        scope.spans.add(
            trace_id=(first + 1).to_bytes(16),
            span_id=(number + 1).to_bytes(8),
            parent_span_id=b"" if number == first else (first + 1).to_bytes(8),
            name=f"span {number}",
            start_time_unix_nano=1_790_000_000_000_000_000 + number,
            end_time_unix_nano=1_790_000_000_500_000_000 + number,
        ).attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
    return message.SerializeToString()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("number", "rounds", "processes", "whose"),
    [
        (signal.SIGKILL, 50, 0, "all"),
        (signal.SIGTERM, 20, 0, "all"),
        (signal.SIGKILL, 50, 2, "all"),
        (signal.SIGTERM, 20, 2, "all"),
        (signal.SIGKILL, 50, 2, "a worker"),
    ],
    ids=["killed", "ended", "killed-with-workers", "ended-with-workers", "workers-killed"],
)
def test_nothing_acknowledged_is_lost_or_counted_twice(
    data_dir: Path, number: signal.Signals, rounds: int, processes: int, whose: str
) -> None:
    rounds = int(os.environ.get("CHAOS_ROUNDS", rounds))
    chance = random.Random(rounds)
    server = Server(data_dir, "--set", f"workers={processes}").start()
    acknowledged: list[set[int]] = [set() for _ in range(WORKERS)]
    sent = [0] * WORKERS
    stopping = threading.Event()

    def send(worker: int) -> None:
        client = httpx.Client(timeout=10)
        while not stopping.is_set():
            first = (worker << 32) + sent[worker] * SPANS
            body = request(first)
            while not stopping.is_set():  # as an exporter does: again until it is taken
                try:
                    response = client.post(
                        f"{server.endpoints['http']}/v1/traces",
                        content=body,
                        headers={"Content-Type": "application/x-protobuf"},
                    )
                except httpx.HTTPError:
                    time.sleep(0.1)
                    continue
                if response.status_code == 200:
                    acknowledged[worker].update(range(first, first + SPANS))
                    break
                assert response.status_code == 503, response.text
                time.sleep(0.1)
            sent[worker] += 1
            time.sleep(SPANS * WORKERS / RATE)

    workers = [threading.Thread(target=send, args=(worker,)) for worker in range(WORKERS)]
    for worker in workers:
        worker.start()
    starts = []
    for _ in range(rounds):
        time.sleep(chance.uniform(1, 3))
        if whose == "a worker":
            until(server.workers)  # one that died soon before is not begun again at once
            os.kill(chance.choice(server.workers()), number)
            continue
        if number is signal.SIGKILL:
            server.kill()
        else:
            assert server.stop() == 0
        began = time.monotonic()
        server.start()
        starts.append(time.monotonic() - began)
    stopping.set()
    for worker in workers:
        worker.join()
    # What a worker had on the disk and had not told of is known once its successor is there.
    until(lambda: httpx.get(f"{server.endpoints['admin']}/readyz").status_code == 200)
    stored = server.settled(60)["stored"]["spans"]
    assert server.stop() == 0

    counted = subprocess.run(
        [sys.executable, "-c", COUNT, str(data_dir / "clickhouse")],
        capture_output=True,
        text=True,
        check=True,
    )
    (rows, final), (of_runs,), *found = (line.split() for line in counted.stdout.splitlines())
    spans = {int(span, 16) - 1 for (span,) in found}
    lost = set().union(*acknowledged) - spans
    starts = sorted(starts) or [0.0]
    print(
        f"\n{number.name} of {whose} x {rounds}, {processes} workers: "
        f"{sum(map(len, acknowledged))} spans acknowledged, {len(lost)} lost, "
        f"{int(rows) - int(final)} rows twice before FINAL, {int(final) - len(spans)} after; "
        f"start to ready median {starts[len(starts) // 2]:.2f} s, longest {starts[-1]:.2f} s"
    )
    assert not lost
    assert int(final) == len(spans) == int(of_runs) == stored
    # Only what clients sent again, because the answer got lost, may be there twice until the store merges it.
    assert int(rows) - int(final) <= rounds * WORKERS * SPANS
