"""A look inside: for whom it is, what it shows, and that it holds nothing of what was sent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from collector.api.app import admin_app
from collector.api.base import Api
from collector.api.debugging import DebugRoutes
from collector.cli import main
from collector.config import load
from collector.config.reload import Reloadable
from collector.doors.gate import Gate
from collector.doors.keys import Keys, Scope, keys_file
from collector.intake.intake import Intake
from collector.otlp import Signal
from collector.status.inspection import Inspection
from collector.telemetry.operations import FAILURES, SAMPLES, Operations
from collector.telemetry.telemetry import Health
from tests.collector.receivers.test_http import PROTOBUF, broken, request
from tests.server import TOKEN, Server
from tests.waiting import until

PATHS = [route.path for route in DebugRoutes(Api.__new__(Api), None).table()]  # type: ignore[arg-type]  # nothing is asked
CANARY = "canary-9f27c1"
OWNER = {"Authorization": f"Bearer {TOKEN}"}


def inspected(config: Path) -> Inspection:
    """Of a collector that does not run."""
    nothing: Any = None
    reloadable = Reloadable(load([config]))
    return Inspection(config.parent, reloadable, Operations(), nothing, nothing, nothing, nothing, None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "eddyline.yaml"
    file.write_text("journal: {ack: write}\n")
    return file


# --------------------------------------------------------------------------- for whom


def test_it_is_for_who_is_here_and_may_manage_the_collector(file: Path) -> None:
    keys = Keys(keys_file(file.parent))
    admin = keys.create("admin", [Scope.ADMIN])[1]
    nothing: Any = None
    api = Api(nothing, nothing, Health(), inspection=inspected(file))
    app = admin_app(api, gate=Gate(keys, token=TOKEN))

    async def status(peer: str, headers: dict[str, str]) -> int:
        transport = httpx.ASGITransport(app, client=(peer, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return (await client.get("/debug/threads", headers=headers)).status_code

    def asked(peer: str, secret: str | None = admin, **headers: str) -> int:
        key = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return asyncio.run(status(peer, key | headers))

    assert [asked(peer) for peer in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")] == [200] * 4
    assert asked("127.0.0.1", TOKEN) == 200
    assert asked("127.0.0.1", None, **{"x-api-key": admin}) == 200
    for peer in ("10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1", ""):
        assert asked(peer) == 403
        assert asked(peer, **{"X-Forwarded-For": "127.0.0.1"}) == 403
    assert asked("127.0.0.1", None) == asked("127.0.0.1", "edl_00000000_" + "x" * 43) == 401
    assert asked("127.0.0.1", keys.create("reader", [Scope.READ, Scope.CONTENT])[1]) == 403
    assert asked("127.0.0.1", keys.create("acme", [Scope.ADMIN], tenant="acme")[1]) == 403
    assert asked("127.0.0.1", keys.create("shop", [Scope.ADMIN], project="shop")[1]) == 403


def test_it_is_on_the_admin_port_only(server: Server) -> None:
    for path in PATHS:
        assert httpx.get(server.endpoints["admin"] + path, headers=OWNER).status_code == 200
        assert httpx.get(server.endpoints["admin"] + path).status_code == 401
        assert httpx.get(server.endpoints["api"] + path, headers=OWNER).status_code == 404
        assert httpx.get(server.endpoints["http"] + path, headers=OWNER).status_code == 404


# --------------------------------------------------------------------------- what it shows


def test_the_configuration_is_what_print_config_prints(file: Path) -> None:
    shown = inspected(file)
    printed = CliRunner().invoke(main, ["print-config", "--config", str(file)])
    assert shown.configuration() == printed.output
    file.write_text("journal: {ack: fsync}\nmemory: {refuse_percentage: 50}\n")
    shown.reloadable.reads("memory")
    shown.reloadable.reload(lambda: load([file]))
    later, rest = shown.configuration().split("\n", 1)
    assert later == "# only a restart takes over: journal.ack"
    assert rest == CliRunner().invoke(main, ["print-config", "--config", str(file)]).output


def test_samples_are_bounded_and_sorted_by_how_long_it_took() -> None:
    operations = Operations()
    kind = operations.of("store traces")
    for number in range(100):
        kind.took(0.005, {"items": number})
        kind.failed(None, f"code {number}\x1b[31m" + "x" * 1000)
    kind.took(70, {"items": 1})
    told = operations.document()["store traces"]
    assert {name: found["count"] for name, found in told["latency"].items()} == {
        "up to 10 ms": 100,
        "longer": 1,
    }
    samples = told["latency"]["up to 10 ms"]["samples"]
    assert [sample["items"] for sample in samples] == [*range(100 - SAMPLES, 100)]
    assert {sample["ms"] for sample in samples} == {5.0}
    errors = told["errors"]
    assert (errors["count"], len(errors["samples"])) == (100, FAILURES)
    assert errors["samples"][-1]["error"].startswith("code 99 ")
    assert max(len(sample["error"]) for sample in errors["samples"]) < 300


def test_a_request_for_which_there_is_no_room_is_among_the_failures() -> None:
    intake = Intake({})
    intake.refuse(Signal.LOGS, "grpc")
    [sample] = intake.operations.document()["receive logs over grpc"]["errors"]["samples"]
    assert sample["error"] == "refused: too much is on its way"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector with a worker, and secrets wherever there may be some."""
    directory = tmp_path_factory.mktemp("inspected")
    config = directory / "eddyline.yaml"
    config.write_text(f"""
workers: 1
auth: {{keys: {{app: {{key: edl_{CANARY * 3}, scopes: [ingest, admin]}}}}}}
sinks: {{otlp: {{team: {{endpoint: "http://user:{CANARY}@127.0.0.1:9/?key={CANARY}", headers: {{key: {CANARY}}}}}}}}}
proxy: {{export: {{headers: {{authorization: {CANARY}}}}}, capture: {{named_keys: {{prod: {CANARY}}}}}}}
notifications: {{webhooks: [{{url: "https://hooks.example/{CANARY}", secret: {CANARY}}}]}}
""")
    running = Server(directory / "data", "--config", str(config)).start()
    yield running
    assert running.stop() == 0


def test_what_each_process_was_busy_with_is_told_without_what_was_sent(guarded: Server) -> None:
    key = {"x-api-key": f"edl_{CANARY * 3}"}
    url = f"{guarded.endpoints['http']}/v1/traces"
    good = request(0x7E00001, spans=2)
    span = good.resource_spans[0].scope_spans[0].spans[0]
    span.name = f"{CANARY} name"
    span.attributes.add(key=f"{CANARY}.key").value.string_value = f"{CANARY} value"
    half = broken(0x7E00002, span_id=CANARY.encode(), name=CANARY)
    bodies = [good.SerializeToString(), half.SerializeToString(), CANARY.encode()]
    for body in bodies:
        httpx.post(url, content=body, headers={"Content-Type": PROTOBUF, "User-Agent": CANARY, **key})
    wrong = [b'{"resourceSpans": "' + CANARY.encode() + b'"}', CANARY.encode(), b"\x80" + CANARY.encode()]
    for body in wrong:
        httpx.post(url, content=body, headers={"Content-Type": "application/json", **key})
    httpx.post(url, content=b"x", headers={"Content-Type": PROTOBUF, "Content-Encoding": CANARY, **key})
    guarded.settled()
    guarded.get("/runs", project=CANARY)
    httpx.get(f"{guarded.endpoints['api']}/api/v1/runs/{CANARY}", headers=OWNER)

    shown = {path: httpx.get(guarded.endpoints["admin"] + path, headers=OWNER).text for path in PATHS}
    assert len(shown) == 4
    assert [path for path, text in shown.items() if CANARY in text] == []

    by_process = json.loads(shown["/debug/tracez"])["processes"]
    assert set(by_process) == {"collector", "worker 1"}
    received = by_process["worker 1"]["operations"]["receive traces over http"]
    assert sum(found["count"] for found in received["latency"].values()) == 1
    assert received["errors"]["count"] == len(bodies[1:]) + len(wrong) + 1
    whys = [sample["error"] for sample in received["errors"]["samples"]]
    assert whys[0] == "rejected: 1 × span id is not 8 bytes"
    [sample] = [one for found in received["latency"].values() for one in found["samples"]]
    assert (sample["items"], sample["bytes"], sample["tenant"]) == (2, len(bodies[0]), "")
    stored = by_process["collector"]["operations"]["store traces/worker-1"]
    assert sum(one["spans"] for found in stored["latency"].values() for one in found["samples"]) == 4
    assert "answer GET /api/v1/runs/{run_id}" in by_process["collector"]["operations"]

    pids = {name: process["pid"] for name, process in by_process.items()}
    assert pids == {"collector": guarded.process.pid, "worker 1": guarded.workers()[0]}
    threads = json.loads(shown["/debug/threads"])["processes"]
    assert {name: process["pid"] for name, process in threads.items()} == pids
    for process in threads.values():
        names = {thread["name"]: thread["calls"] for thread in process["threads"]}
        assert "MainThread" in names
        assert any(call.endswith(" Journal._write_loop") for call in names["journal-traces"])

    told = json.loads(shown["/debug/pipelinez"])
    assert told["receivers"] == guarded.endpoints
    assert set(told["signals"]["traces"]["lanes"]) == {"traces", "traces/worker-1"}
    balance = {name: count for name, count in guarded.get("/status")["pipeline"].items() if name != "logs"}
    assert told["signals"]["traces"]["balance"] == balance
    assert told["signals"]["traces"]["lanes"]["traces"]["pipeline"]["alive"] is True
    assert [worker["pid"] for worker in told["processes"]["workers"]] == guarded.workers()
    assert set(told["signals"]["traces"]["passed_on"]) == {"otlp/team"}


def test_tries_of_the_store_that_failed_are_told_by_their_code() -> None:
    operations = Operations()
    operations.of("store traces").failed(None, "241")
    [sample] = operations.document()["store traces"]["errors"]["samples"]
    assert sample.pop("ended").endswith("+00:00")
    assert sample == {"error": "241"}


def test_a_worker_that_does_not_answer_holds_up_nothing(guarded: Server) -> None:
    def asked() -> dict[str, Any]:
        response = httpx.get(f"{guarded.endpoints['admin']}/debug/threads", headers=OWNER, timeout=30)
        processes: dict[str, Any] = response.json()["processes"]
        return processes

    [pid] = guarded.workers()
    os.kill(pid, signal.SIGSTOP)
    try:
        told = asked()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert told["worker 1"] == {"pid": None, "error": "it does not answer"}
    assert told["collector"]["threads"]
    until(lambda: "threads" in asked()["worker 1"])
