"""accepted = stored + queued + dead-lettered + duplicates + filtered + damaged, at any moment, through faults."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import forked
from tests.collector.receivers.test_http import post, request
from tests.corpus import select
from tests.sending import http_protobuf, over_grpc, renamed
from tests.server import Server

PAYLOADS = [
    file.read_bytes() for scenario in select("openinference/openai-agents/") for file in scenario.traces
][:3]
LOGS = [file.read_bytes() for scenario in select("gen_ai/openai-v2-events/") for file in scenario.logs][:3]
PARTS = ("stored", "queued", "dead_lettered", "duplicates", "filtered", "damaged")


def balances(status: dict[str, Any]) -> None:
    for balance in (status["pipeline"], status["pipeline"]["logs"]):
        assert balance["accepted"] == sum(balance[part] for part in PARTS), status
        assert all(balance[part] >= 0 for part in PARTS)


def stored_spans(data_dir: Path) -> int:
    script = """
import sys
from pathlib import Path
from sinks.clickhouse import Store
store = Store.open(Path(sys.argv[1]))
print(store.query("SELECT uniqExact(TraceId, SpanId) FROM otel.otel_traces")[0][0])
"""
    counted = forked.run([sys.executable, "-c", script, str(data_dir / "clickhouse")], check=True)
    return int(counted.stdout)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector of these tests' own: the last one stops it, and rows of a hundred days make others wait."""
    running = Server(tmp_path_factory.mktemp("balance") / "data").start()
    yield running
    if running.process.poll() is None:
        running.kill()


def test_a_request_sent_again_byte_for_byte_is_a_duplicate_at_once(server: Server) -> None:
    before = server.settled()["pipeline"]
    body = renamed(PAYLOADS[0], 200)
    for _ in range(3):
        http_protobuf(server, body, "again")
    over_grpc(server, body, "again")
    after = server.settled()["pipeline"]
    spans = (after["accepted"] - before["accepted"]) // 4
    assert spans > 0
    assert after["stored"] - before["stored"] == spans
    assert after["duplicates"] - before["duplicates"] == 3 * spans
    # The same bytes for another project are another request.
    response = httpx.post(
        f"{server.endpoints['http']}/v1/traces",
        content=renamed(PAYLOADS[0], 201),
        headers={"Content-Type": "application/x-protobuf", "X-Loop-Project": "elsewhere"},
    )
    assert response.status_code == 200
    assert server.settled()["pipeline"]["stored"] - after["stored"] == spans


def test_T19_a_batch_of_a_hundred_days_is_stored_like_any_other(server: Server) -> None:
    made = request(0x6400001, spans=101)
    for day, span in enumerate(made.resource_spans[0].scope_spans[0].spans):
        span.start_time_unix_nano = (20_000 + day) * 86_400 * 10**9
        span.end_time_unix_nano = span.start_time_unix_nano + 1
    made.resource_spans[0].scope_spans[0].spans[0].end_time_unix_nano = 2**64 - 1
    assert post(server, made.SerializeToString()).status_code == 200
    server.settled()
    run_id = made.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
    assert server.get(f"/runs/{run_id}")["counts"]["spans"] == 101


def test_everything_accepted_is_accounted_for_through_load_resends_and_a_crash(server: Server) -> None:
    stopping = threading.Event()

    def send(worker: int) -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            body = renamed(PAYLOADS[worker], number % 251)
            try:
                for _ in range(1 + number % 3):  # some requests are sent again at once
                    (over_grpc if number % 7 == 0 else http_protobuf)(server, body, "balance")
                http_protobuf(server, LOGS[worker % len(LOGS)], f"logs-{number}", signal="logs")
            except Exception:  # the collector is killed under us
                return

    workers = [threading.Thread(target=send, args=(worker,)) for worker in range(3)]
    for worker in workers:
        worker.start()
    looks = 0
    status: dict[str, Any] = {}
    until = time.monotonic() + 3
    while (
        time.monotonic() < until or looks <= 10 or not status["duplicates"] or not status["logs"]["accepted"]
    ):
        document = server.get("/status")
        balances(document)
        status = document["pipeline"]
        looks += 1
    server.process.send_signal(signal.SIGKILL)
    stopping.set()
    for worker in workers:
        worker.join()
    server.kill()

    server.start()
    balances(server.get("/status"))
    for body in PAYLOADS:
        http_protobuf(server, body, "balance")
    status = server.settled()
    balances(status)
    doors = status["receivers"]["http"]["traces"]["accepted"]
    assert status["pipeline"]["accepted"] >= doors
    assert server.stop() == 0
    assert stored_spans(server.data_dir) == status["stored"]["spans"]
