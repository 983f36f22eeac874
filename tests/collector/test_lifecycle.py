"""Starting, ending, crashing and coming back, with a collector in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.journal import Header, Journal
from collector.otlp import decode_traces
from tests import forked
from tests.corpus import select
from tests.sending import http_protobuf, over_grpc, renamed
from tests.server import COMMAND, Server, dumped_bytes, handed_down
from tests.waiting import PATIENCE_S, until

PAYLOADS = [
    file.read_bytes() for scenario in select("openinference/openai-agents/") for file in scenario.traces
]


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return forked.run([*COMMAND, *arguments], environ=os.environ | environ)


def run_ids(body: bytes) -> set[str]:
    return {
        span.trace_id.hex()
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def everything(server: Server) -> dict[str, Any]:
    runs = server.runs(include="all")
    return {
        run["run_id"]: (run, server.get(f"/runs/{run['run_id']}/events", fields="io")["data"]) for run in runs
    }


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector that is killed and started again, more than once."""
    running = Server(tmp_path_factory.mktemp("crashing") / "data").start()
    yield running
    assert running.stop() == 0


def test_after_kill_9_the_api_shows_what_it_showed(crashing: Server) -> None:
    for body in PAYLOADS:
        http_protobuf(crashing, body, "before")
    stored = crashing.settled()["stored"]
    shown = everything(crashing)
    crashing.kill()
    crashing.start()
    assert crashing.get("/status")["stored"] == stored
    assert everything(crashing) == shown
    for body in PAYLOADS:
        http_protobuf(crashing, body, "before")
    assert crashing.settled()["stored"] == stored
    assert everything(crashing) == shown


def test_T1_what_was_acknowledged_under_load_survives_kill_9(crashing: Server) -> None:
    acknowledged: list[int] = []

    def send(worker: int) -> None:
        body = PAYLOADS[worker]
        for number in range(1, 250):
            try:
                http_protobuf(crashing, renamed(body, number), f"load-{worker}")
            except (httpx.HTTPError, AssertionError):
                return
            acknowledged.append(worker)

    workers = [threading.Thread(target=send, args=(worker,)) for worker in range(3)]
    for worker in workers:
        worker.start()
    while len(acknowledged) < 120:
        assert any(worker.is_alive() for worker in workers)
        time.sleep(0.005)
    crashing.kill()
    for worker in workers:
        worker.join()
    crashing.start()
    crashing.settled()
    counts = {worker: len(crashing.runs(project=f"load-{worker}")) for worker in range(3)}
    assert sum(counts.values()) >= len(acknowledged)
    for worker, count in counts.items():
        assert acknowledged.count(worker) <= count <= acknowledged.count(worker) + 1


def test_S3_what_is_new_is_seen_while_a_backlog_is_stored_and_none_of_it_twice(crashing: Server) -> None:
    crashing.settled()
    crashing.kill()
    body = PAYLOADS[0]
    waiting = [renamed(body, 100 + number) for number in range(100)]
    journal = Journal(crashing.data_dir / "journal" / "traces")
    journal.open()
    spans = len(decode_traces(body))
    written = threading.Semaphore(0)
    for one in waiting:
        header = Header(time.time_ns(), project="waited", transport="http", items=spans)
        journal.append(header, one, lambda _: written.release())
    for _ in waiting:
        assert written.acquire(timeout=PATIENCE_S)
    journal.close()
    crashing.environ["EDDYLINE_SINKS__CLICKHOUSE__BATCH__MAX_ITEMS"] = str(spans)
    crashing.start()
    http_protobuf(crashing, renamed(body, 99), "new")
    until(lambda: crashing.runs(project="new"), every_s=0.05)
    assert crashing.get("/status")["pipeline"]["queued"] > 0, "it waited for the backlog"
    crashing.kill()
    del crashing.environ["EDDYLINE_SINKS__CLICKHOUSE__BATCH__MAX_ITEMS"]
    crashing.start()
    balance = crashing.settled()["pipeline"]
    assert balance["accepted"] == balance["stored"] + balance["duplicates"]
    each = len(crashing.runs(project="new"))
    assert len(crashing.runs(project="waited")) == len(waiting) * each


@dataclass
class Ended:
    """A collector that was sent telemetry until it was told to end, and some after that."""

    server: Server
    records: int
    """Log records that it took, each twice."""
    readiness: list[int]
    """What it answered to those who asked whether it was ready, from then on."""
    health: int
    """What it said over gRPC then."""
    alive: int
    code: int


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    data_dir = tmp_path_factory.mktemp("ended") / "data"
    server = Server(data_dir, "--set", "service.shutdown.drain_delay=4s", command=COMMAND).start()
    files = [file for scenario in select("gen_ai/openai-v2-events/") for file in scenario.logs]
    for _ in range(2):
        for file in files:
            http_protobuf(server, file.read_bytes(), "logs", signal="logs")
            over_grpc(server, file.read_bytes(), "logs", signal="logs")
    accepted = server.get("/status")["receivers"]
    records = accepted["http"]["logs"]["accepted"]
    assert records == accepted["grpc"]["logs"]["accepted"]
    for body in PAYLOADS[1:]:
        http_protobuf(server, body, "drained")
    server.process.send_signal(signal.SIGTERM)
    readiness: list[int] = []

    def is_unready() -> bool:
        readiness.append(httpx.get(f"{server.endpoints['admin']}/readyz").status_code)
        return readiness[-1] == 503

    until(is_unready)
    with grpc.insecure_channel(server.endpoints["grpc"]) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    alive = httpx.get(f"{server.endpoints['admin']}/healthz").status_code
    http_protobuf(server, PAYLOADS[0], "late")
    server.api.close()
    return Ended(server, records, readiness, health.status, alive, server.process.wait(PATIENCE_S))


def test_while_others_learn_that_it_ends_it_is_alive_and_not_ready(ended: Ended) -> None:
    assert ended.readiness[-1] == 503
    assert ended.health == health_pb2.HealthCheckResponse.NOT_SERVING
    assert ended.alive == 200


def test_log_records_are_stored_once(ended: Ended) -> None:
    script = """
import sys
from pathlib import Path
from sinks.clickhouse import Store
store = Store.open(Path(sys.argv[1]))
sql = "SELECT count(), countIf(Body LIKE '%weather%'), any(Project) FROM otel.otel_logs FINAL"
print(*store.query(sql)[0])
"""
    counted = forked.run(
        [sys.executable, "-c", script, str(ended.server.data_dir / "clickhouse")], check=True
    )
    stored, about_weather, project = counted.stdout.split()
    assert int(stored) == ended.records // 2
    assert int(about_weather) > 0
    assert project == "logs"


def test_T2_sigterm_stores_what_is_on_its_way_and_exits_0(ended: Ended) -> None:
    assert ended.code == 0
    assert not (ended.server.data_dir / "endpoints.json").exists()
    server = Server(ended.server.data_dir).start()
    status = server.get("/status")
    runs = server.runs(include="all")
    assert status["stored"]["runs"] == len(runs)
    assert status["pipeline"]["accepted"] == 0
    projects = {run["run_id"]: run["project"] for run in runs}
    assert {projects[run_id] for body in PAYLOADS[1:] for run_id in run_ids(body)} == {"drained"}
    assert {projects[run_id] for run_id in run_ids(PAYLOADS[0])} == {"late"}
    assert server.stop() == 0


def test_what_the_disk_does_not_take_at_the_end_is_no_failure(data_dir: Path) -> None:
    server = Server(data_dir).start()
    endpoints = data_dir / "endpoints.json"
    endpoints.unlink()
    endpoints.mkdir()  # so that it can not be unlinked
    assert server.stop() == 0
    assert "not done at the end" in server.log.read_text()


def test_a_second_collector_on_the_same_data_says_so(server: Server) -> None:
    second = command(
        "serve", "--data-dir", str(server.data_dir), "--http", "off", "--grpc", "off", "--api", "0"
    )
    assert second.returncode == 75
    assert "another collector runs on" in second.stderr
    assert httpx.get(server.endpoints["api"] + "/readyz").status_code == 200


def test_a_taken_port_is_named(server: Server, data_dir: Path) -> None:
    taken = server.endpoints["http"].removeprefix("http://")
    result = command(
        "serve", "--data-dir", str(data_dir), "--http", taken, "--grpc", "off", "--api", "0", "--admin", "0"
    )
    assert result.returncode == 69
    assert f"http can not listen on {taken}" in result.stderr


def test_leaving_loopback_is_refused(data_dir: Path) -> None:
    result = command("serve", "--data-dir", str(data_dir), "--http", "0.0.0.0:0")
    assert result.returncode == 78
    assert "only loopback" in result.stderr


def test_a_wrong_configuration_exits_78(tmp_path: Path) -> None:
    file = tmp_path / "eddyline.yaml"
    file.write_text("recievers: {}\n")
    result = command("serve", "--config", str(file))
    assert result.returncode == 78
    assert "recievers: unknown key" in result.stderr


@pytest.mark.parametrize("name", ["serve", "proxy", "validate"])
def test_what_only_the_parts_understand_is_wrong_before_anything_is_opened(name: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    wrong = ("--set", "proxy.upstream=nowhere", "--set", "loops.disabled=[nothing]")
    result = command(name, "--data-dir", str(data), *wrong)
    assert result.returncode == 78
    assert [line.partition(": ")[2].partition(": ")[0] for line in result.stderr.splitlines()] == [
        "proxy.upstream",
        "loops",
    ]
    assert not data.exists()


def test_the_start_says_where_everything_is(server: Server) -> None:
    printed = server.log.read_text()
    for part in (
        server.endpoints["http"],
        server.endpoints["grpc"],
        f"{server.endpoints['api']}/api/v1",
        f"export OTEL_EXPORTER_OTLP_ENDPOINT={server.endpoints['http']}",
        "export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        str(server.data_dir / "token"),
    ):
        assert part in printed


def test_the_files_of_the_data_directory_are_the_owners_alone(server: Server) -> None:
    http_protobuf(server, PAYLOADS[0], "modes")
    server.settled()
    ours = []  # the engine's files come and go
    for beside in server.data_dir.iterdir():
        if beside.name != "clickhouse":
            ours += [beside, *beside.rglob("*")]
    assert {"token", "endpoints.json", "sink.cursor", "traces"} <= {file.name for file in ours}
    for file in (server.data_dir, server.data_dir / "clickhouse", *ours):
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600), file
    assert json.loads((server.data_dir / "endpoints.json").read_text())["proxy"] == server.endpoints["proxy"]


def test_a_crash_leaves_no_memory_on_the_disk(server: Server) -> None:
    assert dumped_bytes(server.process.pid) == 0


def test_the_demo_shows_a_looping_run(server: Server) -> None:
    shown = command("demo", "--data-dir", str(server.data_dir), COLUMNS="160")
    assert shown.returncode == 0, shown.stderr
    assert "7 LLM calls, 6 tool calls" in shown.stdout
    assert shown.stdout.count("tool_call_completed") == 6
    table, loop, warning = shown.stdout.partition("loop: ")
    assert table.count("get_weather") == 12  # asked for by the model, and called
    assert loop
    assert warning.startswith("exact_repeat")
    assert "`get_weather` was called 6 times" in warning
    assert f"{server.endpoints['api']}/runs/" in shown.stdout
    assert "on the page: eddyline runs open " in shown.stdout


def test_the_demo_brings_its_own_collector(data_dir: Path) -> None:
    shown = command("demo", "--data-dir", str(data_dir), COLUMNS="160")
    assert shown.returncode == 0, shown.stderr
    assert "weather_agent" in shown.stdout
    assert not (data_dir / "endpoints.json").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    probe = "import sys; from collector.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    heavy = (
        "print([m for m in ('chdb', 'grpc', 'rich', 'pyarrow', 'uvicorn', 'pydantic') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe + heavy, *arguments], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_proxy_is_one_of_the_doors(server: Server) -> None:
    document = httpx.get(server.endpoints["proxy"]).json()
    assert document["name"] == "eddyline proxy"
    refused = httpx.post(f"{server.endpoints['proxy']}/openai/http/{server.endpoints['http'][7:]}/v1/traces")
    assert (refused.status_code, refused.headers["x-loop-error"]) == (403, "denied")


def test_a_data_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = command("serve", "--data-dir", str(tmp_path / "file" / "data"))
    assert result.returncode == 73
    assert "can not be made" in result.stderr


@pytest.mark.parametrize("name", ["journal", "clickhouse"])
def test_what_can_not_be_made_in_the_data_directory_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    result = command("serve", "--data-dir", str(tmp_path))
    assert result.returncode == 73
    assert result.stderr.startswith(f"eddyline: {tmp_path / name}")
    assert len(result.stderr.splitlines()) == 1


SLOW_STORE = """
import os, time
import collector.working
from collector.cli import main
opened = collector.working._open_store
def open_store(settings):
    while not os.path.exists(os.environ["STORE_MAY_OPEN"]):
        time.sleep(0.01)
    return opened(settings)
collector.working._open_store = open_store
main()
"""


def test_telemetry_is_taken_before_the_store_is_open(data_dir: Path, tmp_path: Path) -> None:
    may_open = tmp_path / "store may open"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        server = Server(
            data_dir,
            *("--http", where, "--set", "service.shutdown.drain_delay=60s"),
            environ={"STORE_MAY_OPEN": str(may_open)},
            **handed_down(listener, [sys.executable, "-c", SLOW_STORE]),
        )
        starting = threading.Thread(target=server.start)
        starting.start()
        headers = {"Content-Type": "application/x-protobuf", "X-Loop-Project": "early"}
        answer = httpx.post(
            f"http://{where}/v1/traces", content=PAYLOADS[0], headers=headers, timeout=PATIENCE_S
        )
        assert answer.status_code == 200
        assert not (data_dir / "endpoints.json").exists()
        may_open.touch()
        starting.join()
    balance = server.settled()["pipeline"]
    assert balance["accepted"] == balance["stored"] + balance["duplicates"] > 0
    assert server.runs(project="early", include="all")
    server.api.close()
    server.process.send_signal(signal.SIGTERM)
    until(lambda: httpx.get(f"{server.endpoints['admin']}/readyz").status_code == 503)
    server.process.send_signal(signal.SIGTERM)  # from who can not wait
    assert server.process.wait(PATIENCE_S) == 0
    assert "ending at once" in server.log.read_text()
