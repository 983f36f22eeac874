"""Three collectors on one store, one of them killed again and again under load, and now and then the store: nothing
acknowledged is lost or counted twice, and every run is derived, while one is away as after it is back.

Run by `make chaos`; `CHAOS_ROUNDS` sets how often one is killed (12).
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import httpx
import pytest

from sinks.clickhouse.instances import DEAD_AFTER_S
from tests.chaos.test_restarts import SPANS, request
from tests.clickhouse_front import Front
from tests.server import Server

WORKERS = 4
PAUSE_S = 0.2
SWEEP_S = 1


@pytest.mark.timeout(1800)
def test_one_of_three_may_be_killed_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.server.PATIENCE_S", 120.0)  # beside the load that the others take
    rounds = int(os.environ.get("CHAOS_ROUNDS", 12))
    chance = random.Random(rounds)
    front = Front(tmp_path / "store").start()
    servers = [
        Server(
            tmp_path / f"collector-{number}",
            *("--set", f"sinks.clickhouse.url={front.url}"),
            *("--set", "loops.replicas=3", "--set", f"loops.sweep_interval={SWEEP_S}s"),
        )
        for number in range(3)
    ]
    starting = [threading.Thread(target=server.start) for server in servers]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    acknowledged: list[set[int]] = [set() for _ in range(WORKERS)]
    sent = [0] * WORKERS
    stopping = threading.Event()

    def send(worker: int) -> None:
        """Each request goes to any of them, and to another when it is not taken."""
        chosen = random.Random(worker)
        client = httpx.Client(timeout=10)
        while not stopping.is_set():
            first = (worker << 32) + sent[worker] * SPANS
            body = request(first)
            while not stopping.is_set():
                try:
                    response = client.post(
                        f"{chosen.choice(servers).endpoints['http']}/v1/traces",
                        content=body,
                        headers={"Content-Type": "application/x-protobuf"},
                    )
                except httpx.HTTPError:
                    time.sleep(0.05)
                    continue
                if response.status_code == 200:
                    acknowledged[worker].update(range(first, first + SPANS))
                    break
                assert response.status_code == 503, response.text
                time.sleep(0.05)
            sent[worker] += 1
            time.sleep(PAUSE_S)

    workers = [threading.Thread(target=send, args=(worker,), daemon=True) for worker in range(WORKERS)]
    for worker in workers:
        worker.start()
    for round_number in range(rounds):
        time.sleep(chance.uniform(1, 3))
        if round_number % 4 == 3:  # and so may the store be
            front.kill()
            time.sleep(chance.uniform(0, 2))
            front.start()
        victim = chance.choice(servers)
        victim.kill()
        # Every third time it stays away for so long that the others take over what it owned.
        time.sleep(DEAD_AFTER_S + 2 if round_number % 3 == 2 else chance.uniform(0, 2))
        victim.start()
    stopping.set()
    for worker in workers:
        worker.join()

    # One of them dies for good, as far as the others know: what it had stored they derive without it.
    for server in servers:
        server.settled(120)
    servers[2].kill()
    time.sleep(DEAD_AFTER_S + 5 * SWEEP_S)
    spans = {int(span, 16) - 1 for (span,) in front.query("SELECT DISTINCT SpanId FROM otel.otel_traces")}
    [[rows, final]] = front.query(
        "SELECT (SELECT count() FROM otel.otel_traces), (SELECT count() FROM otel.otel_traces FINAL)"
    )
    of_runs = {
        run_id: int(count) for run_id, count in front.query("SELECT RunId, Spans FROM otel.runs_current")
    }
    of_spans = {
        run_id: int(count)
        for run_id, count in front.query(
            "SELECT TraceId, uniqExact(SpanId) FROM otel.otel_traces GROUP BY TraceId"
        )
    }
    told = [server.get("/status")["stored"] for server in servers[:2]]
    lost = set().union(*acknowledged) - spans
    print(
        f"\nthree collectors, {rounds} kills: {sum(map(len, acknowledged))} spans acknowledged, {len(lost)} lost, "
        f"{int(rows) - int(final)} rows twice before FINAL, {int(final) - len(spans)} after; "
        f"{len(of_runs)} runs derived of {len(of_spans)}"
    )
    assert not lost
    assert int(final) == len(spans)
    assert of_runs == of_spans
    assert [one["spans"] for one in told] == [len(spans)] * 2
    assert [one["runs"] for one in told] == [len(of_spans)] * 2
    for server in servers[:2]:
        assert server.stop() == 0
    front.stop()
