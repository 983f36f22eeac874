"""A look at what passes: bounded, within what the caller may see, redacted, and nothing waits for it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.doors.keys import Keys, Scope, keys_file
from collector.journal import Header
from collector.tap import MAX_HELD_BYTES, MOST_TAPS, Arrival, Point, Tap, Taps, TooManyTapsError, View
from mappers.model import Event, Run
from sinks.base import Batch
from tests.server import COMMAND, TOKEN, Server
from tests.waiting import PATIENCE_S

SECRET = "sk-proj-" + "Ab3" * 16
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def event(number: int, **fields: Any) -> Event:
    return Event(run_id=f"{number:032x}", span_id=f"{number:016x}", name=f"event {number}", **fields)


# --------------------------------------------------------------------------- the parts


def test_a_tap_takes_so_many_an_interval_from_all_over_and_counts_the_others() -> None:
    now = [0.0]
    tap = Tap(View(Point.MAPPER, limit=4, interval_s=1), clock=lambda: now[0])
    assert list(tap.choose(range(100))) == [0, 25, 50, 75]
    assert list(tap.choose(range(10))) == []
    now[0] = 1.0
    assert list(tap.choose([7, 8])) == [7, 8]
    assert tap.take() == ([], 106)


def test_a_tap_that_nobody_reads_holds_a_mebibyte_at_most() -> None:
    tap = Tap(View(Point.RECEIVER))
    arrival = Arrival("traces", Header(1), b"x" * (400 << 10))
    for _ in range(5):
        tap.put(arrival, len(arrival.body))
    samples, skipped = tap.take()
    assert (len(samples), skipped) == (MAX_HELD_BYTES // (400 << 10), 3)
    tap.put(arrival, len(arrival.body))
    assert len(tap.take()[0]) == 1


def test_each_point_tells_its_taps_and_who_looks_sees_their_own() -> None:
    taps = Taps()
    everything = taps.open(View(Point.MAPPER))
    acme = taps.open(View(Point.MAPPER, tenant="acme", own_project="shop"))
    named = taps.open(View(Point.MAPPER, name="* 3", project="s*"))
    taps.mapped(
        "traces",
        [
            event(1, tenant="acme", project="shop"),
            event(2, tenant="acme", project="other"),
            event(3, project="shop"),
        ],
    )
    seen = [
        [sample["event"]["name"] for sample in tap.take()[0] if isinstance(sample, dict)]
        for tap in (everything, acme, named)
    ]
    assert seen == [["event 1", "event 2", "event 3"], ["event 1"], ["event 3"]]

    sink = taps.open(View(Point.SINK, tenant=""))
    runs = [Run(run_id="a" * 32, name="mine"), Run(run_id="b" * 32, name="theirs", tenant="acme")]
    taps.written("traces", Batch(events=[event(4)], runs=runs), 0.0125)
    rows: list[Any] = sink.take()[0]
    assert [(row["table"], row["row"]["name"]) for row in rows] == [
        ("run_events", "event 4"),
        ("runs", "mine"),
    ]
    assert rows[0]["stored_in_ms"] == 12.5


def test_long_values_are_cut_in_samples() -> None:
    taps = Taps()
    tap = taps.open(View(Point.MAPPER))
    taps.mapped("traces", [event(1, input="x" * 10_000, tags=["t"] * 1000)])
    [sample] = tap.take()[0]
    assert isinstance(sample, dict)
    assert sample["event"]["input"].endswith("… (9500 more)")
    assert len(sample["event"]["tags"]) == 50


def test_only_so_many_may_look_and_none_once_the_collector_ends() -> None:
    taps = Taps()
    opened = [taps.open(View(Point.SINK)) for _ in range(MOST_TAPS)]
    with pytest.raises(TooManyTapsError):
        taps.open(View(Point.SINK))
    taps.close(opened[0])
    last = taps.open(View(Point.SINK))
    taps.end()
    assert last.closed.is_set()
    with pytest.raises(TooManyTapsError):
        taps.open(View(Point.SINK))


def test_a_row_that_can_not_be_shown_costs_its_sample_only() -> None:
    taps = Taps()
    tap = taps.open(View(Point.MAPPER))

    class Broken:
        tenant = project = name = ""

        def __str__(self) -> str:
            raise ValueError

    taps.mapped("traces", [Broken(), event(1)])  # type: ignore[list-item]  # what must not break it
    taps.mapped("traces", [event(2)])
    assert [sample["event"]["name"] for sample in tap.take()[0] if isinstance(sample, dict)][-1] == "event 2"


# --------------------------------------------------------------------------- a collector


CONFIG = """
redaction:
  projects:
    clinic: {mask: [email], capture_input: false}
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A collector, and keys of its tenants."""
    directory = tmp_path_factory.mktemp("watched")
    (directory / "config.yaml").write_text(CONFIG)
    keys = Keys(keys_file(directory / "data"))
    secrets = {
        "reader": keys.create("reader", [Scope.READ])[1],
        "acme": keys.create("acme", [Scope.CONTENT, Scope.INGEST], tenant="acme")[1],
        "shop": keys.create("shop", [Scope.READ], tenant="acme", project="shop")[1],
    }
    server = Server(directory / "data", "--config", str(directory / "config.yaml")).start()
    yield server, secrets
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def chat(number: int, said: str) -> bytes:
    made = ExportTraceServiceRequest()
    span = (
        made.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            trace_id=b"tapped__" + number.to_bytes(8, "big"),
            span_id=number.to_bytes(8, "big"),
            name=f"chat {number}",
            start_time_unix_nano=time.time_ns() - 10**9,
            end_time_unix_nano=time.time_ns(),
        )
    )
    for key, value in (
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "gpt-4o"),
        (
            "gen_ai.input.messages",
            json.dumps([{"role": "user", "parts": [{"type": "text", "content": said}]}]),
        ),
    ):
        span.attributes.add(key=key).value.string_value = value
    return made.SerializeToString()


def post(server: Server, body: bytes, signal: str = "traces", **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = httpx.post(f"{server.endpoints['http']}/v1/{signal}", content=body, headers=PROTOBUF | named)
    assert answer.status_code == 200


class Listener:
    """Who listens to a tap of the API, until enough was heard."""

    def __init__(self, server: Server, token: str, enough: int = 1, **asked: Any) -> None:
        self.heard: list[dict[str, Any]] = []
        listening = threading.Event()

        def listen() -> None:
            url = f"{server.endpoints['api']}/api/v1/tap"
            headers = {"Authorization": f"Bearer {token}"}
            parameters = {"interval_ms": 100} | asked
            with httpx.stream("GET", url, params=parameters, headers=headers, timeout=PATIENCE_S) as stream:
                for line in stream.iter_lines():
                    listening.set()
                    if line:
                        self.heard.append(json.loads(line))
                    if len(self.heard) >= enough:
                        return

        self._thread = threading.Thread(target=listen)
        self._thread.start()
        assert listening.wait(PATIENCE_S)

    def all(self) -> list[dict[str, Any]]:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), self.heard
        return self.heard


@pytest.mark.parametrize("at", list(Point))
def test_every_point_is_redacted_as_the_store_is(watched: tuple[Server, dict[str, str]], at: Point) -> None:
    server, _ = watched
    enough = 2 if at is Point.SINK else 1
    listener = Listener(server, TOKEN, at=at, name="chat 11", enough=enough)
    post(server, chat(11, f"my key is {SECRET}"), x_loop_project="open")
    shown = json.dumps(listener.all())
    if at is not Point.RECEIVER:
        listener = Listener(server, TOKEN, at=at, name="chat 12", enough=enough)
        post(server, chat(12, "who am I? ada@example.com"), x_loop_project="clinic")
        shown += json.dumps(listener.all())
    assert "[redacted api key]" in shown
    assert SECRET not in shown
    assert "ada@example.com" not in shown
    assert "who am I" not in shown


def test_requests_of_both_signals_are_seen_at_the_receiver(watched: tuple[Server, dict[str, str]]) -> None:
    server, _ = watched
    listener = Listener(server, TOKEN, at="receiver", project="seen", enough=2)
    post(server, chat(21, "hello"), x_loop_project="unseen")
    post(server, chat(22, "hello"), x_loop_project="seen")
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(event_name="noted").body.string_value = "text"
    post(server, logs.SerializeToString(), "logs", x_loop_project="seen")
    seen = {sample["signal"]: sample for sample in listener.all()}  # each signal has a journal of its own
    assert (seen["traces"]["transport"], seen["traces"]["items"]) == ("http", 1)
    assert seen["traces"]["spans"][0]["attributes"]["gen_ai.request.model"] == "gpt-4o"
    assert seen["logs"]["records"][0]["body"] == "text"


def test_a_key_sees_its_own_tenant_and_needs_the_scope(watched: tuple[Server, dict[str, str]]) -> None:
    server, secrets = watched
    listener = Listener(server, secrets["acme"], at="receiver")
    post(server, chat(31, "not theirs"))
    post(server, chat(32, "theirs"), authorization=f"Bearer {secrets['acme']}")
    [sample] = listener.all()
    assert sample["spans"][0]["name"] == "chat 32"
    for who, status in (("reader", 403), ("acme", 400)):
        answer = httpx.get(
            f"{server.endpoints['api']}/api/v1/tap", headers={"Authorization": f"Bearer {secrets[who]}"}
        )
        assert answer.status_code == status
    assert "receiver" in answer.json()["errors"][0]["allowed"]


def test_the_status_tells_a_key_of_its_own_only(watched: tuple[Server, dict[str, str]]) -> None:
    server, secrets = watched
    before = server.settled()["stored"]
    mine = {"authorization": f"Bearer {secrets['acme']}"}
    post(server, chat(41, "one"), x_loop_project="shop", **mine)
    post(server, chat(42, "two"), x_loop_project="other", **mine)
    post(server, chat(43, "three"))
    stored = server.settled()["stored"]
    assert {name: stored[name] - before[name] for name in stored} == {"spans": 3, "events": 3, "runs": 3}
    time.sleep(1.1)  # what was counted before is forgotten
    seen = {
        who: httpx.get(
            f"{server.endpoints['api']}/api/v1/status", headers={"Authorization": f"Bearer {secrets[who]}"}
        ).json()
        for who in secrets
    }
    assert seen["shop"]["stored"] == {"spans": 1, "events": 1, "runs": 1}
    assert seen["acme"]["stored"]["runs"] >= 2
    assert seen["reader"]["stored"]["runs"] == stored["runs"] - seen["acme"]["stored"]["runs"]
    assert {tuple(status) for status in seen.values()} == {("version", "uptime_s", "stored")}


# --------------------------------------------------------------------------- the commands


def command(server: Server, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments, "--data-dir", str(server.data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environ,
    )


def test_the_command_shows_samples_and_ends_after_so_many(watched: tuple[Server, dict[str, str]]) -> None:
    server, _ = watched
    process = command(
        server, "tap", "--name", "chat 5*", "--count", "2", "--interval", "100", "--format", "line"
    )
    number = 500
    while process.poll() is None:  # until it listens
        post(server, chat(number, "hello"))
        number += 1
        time.sleep(0.1)
    shown, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    lines = shown.splitlines()
    assert len([line for line in lines if line.startswith("traces  default  LLM  ")]) == 2
    assert "chat 5" in lines[0]
    assert "gpt-4o" in lines[0]


def test_top_without_a_terminal_is_a_line_an_interval(watched: tuple[Server, dict[str, str]]) -> None:
    server, secrets = watched
    process = command(server, "top", "--interval", "0.2", "--count", "2")
    shown, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    heading, *lines = shown.splitlines()
    assert heading.split()[:3] == ["signal", "accepted/s", "stored/s"]
    assert [line.split()[0] for line in lines] == ["traces", "traces"]
    assert "LLM calls" in lines[0]
    refused = command(server, "top", EDDYLINE_TOKEN=secrets["reader"])
    assert "only with the API token" in refused.communicate(timeout=PATIENCE_S)[1]
    assert refused.returncode == 4


def test_a_listener_does_not_hold_up_the_end(data_dir: Path) -> None:
    server = Server(data_dir).start()
    process = command(server, "tap", "--at", "sink")
    assert process.stdout is not None
    heard = threading.Event()
    reader = threading.Thread(target=lambda out: out.readline() and heard.set(), args=(process.stdout,))
    reader.start()
    number = 1000
    while not heard.wait(0.3):  # the tap may open after what was sent first
        assert process.poll() is None
        post(server, chat(number, "hello"))
        number += 1
    reader.join()
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 8
    assert process.wait(PATIENCE_S) == 0
    process.communicate()
