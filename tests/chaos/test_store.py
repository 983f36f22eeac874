"""A store that is away, slow, unsure or unsteady, at full load (T3, T4, T5), and configuration that changes (T21).

Run by `make chaos`; `CHAOS_SECONDS` sets how long the store is away (180).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.chaos.test_intake import MIB, resident
from tests.server import Server, handed_down
from tests.waiting import until

SPANS = 20
FAULTY = [sys.executable, "-m", "tests.chaos.faulty"]
SECONDS = float(os.environ.get("CHAOS_SECONDS", 180))


class Load:
    """Sends spans at an even rate, each request until it is taken, and counts what was acknowledged."""

    def __init__(self, server: Server, rate: int, size: int = 200, workers: int = 2) -> None:
        self.acknowledged = [0] * workers
        self.refused = 0
        self._server = server
        self._pause_s = SPANS * workers / rate
        self._filler = random.Random(1).randbytes(size // 2).hex()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(worker,)) for worker in range(workers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        return sum(self.acknowledged)

    def _send(self, worker: int) -> None:
        due = time.monotonic()
        with httpx.Client(base_url=self._server.endpoints["http"], timeout=20) as client:
            number = 0
            while not self._ended.is_set():
                body = self._request(worker << 40 | number)
                while True:
                    answer = client.post(
                        "/v1/traces", content=body, headers={"Content-Type": "application/x-protobuf"}
                    )
                    if answer.status_code == 200:
                        break
                    assert answer.status_code == 503, answer.text
                    self.refused += 1
                    time.sleep(0.2)
                self.acknowledged[worker] += SPANS
                number += SPANS
                due += self._pause_s
                time.sleep(max(0.0, due - time.monotonic()))

    def _request(self, first: int) -> bytes:
        made = ExportTraceServiceRequest()
        scope = made.resource_spans.add().scope_spans.add()
        now = time.time_ns()
        for number in range(first, first + SPANS):
            span = scope.spans.add(
                trace_id=(first + 1).to_bytes(16),
                span_id=(number + 1).to_bytes(8),
                parent_span_id=b"" if number == first else (first + 1).to_bytes(8),
                name=f"span {number}",
                start_time_unix_nano=now - 10**9,
                end_time_unix_nano=now,
            )
            span.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
            span.attributes.add(key="filler").value.string_value = f"{number}{self._filler}"
        return made.SerializeToString()


class Faults:
    """What the store of a collector does (see `faulty`)."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, fault: str) -> None:
        self._file.with_suffix(".new").write_text(fault)
        self._file.with_suffix(".new").replace(self._file)

    def tries(self, since: float) -> list[float]:
        """When batches were given to the store."""
        lines = self._file.with_suffix(".tries").read_text().splitlines()
        return [at for line in lines if (at := float(line)) >= since]


@contextmanager
def collector(data_dir: Path, *arguments: str) -> Iterator[tuple[Server, Faults]]:
    file = data_dir.with_suffix(".fault")
    server = Server(data_dir, *arguments, environ={"FAULT_FILE": str(file)}, command=FAULTY).start()
    try:
        yield server, Faults(file)
    finally:
        if server.process.poll() is None:
            server.kill()


def all_stored_once(server: Server, load: Load, seconds: float) -> None:
    status = server.settled(seconds)
    assert status["stored"]["spans"] == load.total
    assert status["pipeline"]["accepted"] == status["pipeline"]["stored"] + status["pipeline"]["duplicates"]
    assert status["pipeline"]["dead_lettered"] == 0


@pytest.mark.timeout(1800)
def test_T3_a_store_that_is_away_costs_disk_and_nothing_else(data_dir: Path) -> None:
    with collector(data_dir) as (server, fault):
        with Load(server, 1000, size=4000) as load:
            time.sleep(5)
            before, sent_before = resident(server), load.total
            fault("down")
            peak = before
            waiting: list[int] = []
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                time.sleep(1)
                peak = max(peak, resident(server))
                waiting.append(server.get("/status")["journal"]["traces"]["waiting_bytes"])
                assert httpx.get(f"{server.endpoints['admin']}/readyz").status_code == 200
            live = (load.total - sent_before) / SECONDS
            fault("")
            came_back, behind = time.monotonic(), server.get("/status")["pipeline"]["queued"]
            while (queued := server.get("/status")["pipeline"]["queued"]) > live:
                assert time.monotonic() - came_back < 300
                time.sleep(0.2)
            caught_up_s = time.monotonic() - came_back
        all_stored_once(server, load, 60)
        rate = (behind - queued) / caught_up_s + live
        thirds = [waiting[len(waiting) * part // 3 - 1] for part in (1, 2, 3)]
        print(
            f"\nT3: {SECONDS:.0f} s away at {live:.0f} spans/s: journal {waiting[-1] // MIB} MiB, memory "
            f"+{(peak - before) // MIB} MiB, {load.refused} refused; caught up at {rate / live:.1f} times the live rate"
        )
        assert load.refused == 0
        assert peak - before < 200 * MIB
        assert thirds[2] - thirds[1] == pytest.approx(thirds[1] - thirds[0], rel=0.5)  # linear
        assert rate > live
        assert server.stop() == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault_named", ["slow 5", "lost 0.5"])
def test_T4_a_store_that_is_slow_or_unsure_neither_loses_nor_doubles(
    data_dir: Path, fault_named: str
) -> None:
    with collector(data_dir) as (server, fault):
        with Load(server, 1000) as load:
            fault(fault_named)
            time.sleep(30)
            fault("")
        all_stored_once(server, load, 60)
        print(f"\nT4 {fault_named}: {load.total} spans, none lost, none twice, {load.refused} refused")
        assert load.refused == 0
        assert server.stop() == 0


@pytest.mark.timeout(600)
def test_T5_a_store_that_comes_and_goes_is_not_stormed(data_dir: Path) -> None:
    with collector(data_dir) as (server, fault):
        with Load(server, 500) as load:
            fault("flap 2")
            time.sleep(30)
            fault("down")
            time.sleep(10)  # the breaker is open by now
            began = time.monotonic()
            time.sleep(20)
            tries = fault.tries(began)
            fault("")
        all_stored_once(server, load, 60)
        gaps = [later - earlier for earlier, later in pairwise(tries)]
        print(f"\nT5: {load.total} spans; {len(tries)} tries in 20 s away, at least {min(gaps):.2f} s apart")
        assert len(tries) <= 20
        assert server.stop() == 0


@pytest.mark.timeout(600)
def test_T21_configuration_that_changes_under_load_loses_nothing(data_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "eddyline.yaml"
    file.write_text("service: {telemetry: {log_level: info}}\n")
    with collector(data_dir, "--config", str(file)) as (server, _):

        def reloaded(times: int) -> bool:
            return server.log.read_text().count("the configuration is reloaded") >= times

        with Load(server, 1000) as load:
            for number in range(25):
                file.write_text(
                    f"receivers: {{otlp: {{limits: {{spans_per_request: {50_000 + number}}}}}}}\n"
                )
                server.process.send_signal(signal.SIGHUP)
                until(partial(reloaded, number + 1))  # signals that come soon after another are one
                file.write_text("recievers: {}\n")
                server.process.send_signal(signal.SIGHUP)
                time.sleep(0.2)
        all_stored_once(server, load, 30)
        print(f"\nT21: {load.total} spans through 50 reloads, {load.refused} refused")
        assert reloaded(25)
        assert "the old configuration stays" in server.log.read_text()
        assert load.refused == 0
        assert server.stop() == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("held", [False, True], ids=["port closed meanwhile", "socket held"])
def test_T16_everybody_may_come_back_at_once(data_dir: Path, *, held: bool) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if held:
            listener.listen(1024)
            server = Server(data_dir, "--http", f"127.0.0.1:{port}", **handed_down(listener)).start()
        else:
            listener.close()
            server = Server(data_dir, "--http", f"127.0.0.1:{port}").start()
        ready, served = [], []
        for _ in range(int(os.environ.get("CHAOS_ROUNDS", 20))):
            assert server.stop() == 0
            with ThreadPoolExecutor(1) as others:
                began = time.monotonic()
                if held:  # nobody is turned away, whenever they come
                    clients = others.submit(asyncio.run, _all_at_once("127.0.0.1", port, 500))
                server.start()
                ready.append(time.monotonic() - began)
                if not held:
                    began = time.monotonic()
                    clients = others.submit(asyncio.run, _all_at_once("127.0.0.1", port, 500))
                clients.result()
            served.append(time.monotonic() - began)
        ready.sort()
        median = ready[len(ready) // 2]
        print(
            f"\nT16 {'held' if held else 'closed'}: start to ready median {median:.2f} s, longest {ready[-1]:.2f} s; "
            f"500 clients served within {max(served):.1f} s {'of the start' if held else ''}"
        )
        assert (
            held or median < 2
        )  # of 500 clients that wait already, the start is slower, and they are served before
        assert server.stop() == 0


async def _all_at_once(host: str, port: int, clients: int) -> None:
    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(3):
            writer.write(
                b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 2\r\n\r\n{}"
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(2)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
