"""Two whole collectors on one store: what each was sent of a run is looked at together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.clickhouse_front import Front
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

PROJECT = "shared"
SEEN_S = 30.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    directory = tmp_path_factory.mktemp("shared")
    front = Front(directory / "store").start()
    settings = [f"sinks.clickhouse.url={front.url}", "loops.replicas=2", "loops.sweep_interval=500ms"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    servers = [Server(directory / name, *arguments).start() for name in ("one", "other")]
    yield servers
    for server in servers:
        server.stop()
    front.stop()


def halves() -> tuple[bytes, bytes]:
    """A captured run that loops, every other span of it."""
    (scenario,) = (found for found in select("openinference/langchain/loop") if found.name.endswith("/loop"))
    parts = ExportTraceServiceRequest(), ExportTraceServiceRequest()
    number = 0
    for file in scenario.traces:
        for resource in ExportTraceServiceRequest.FromString(file.read_bytes()).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    mine = parts[number % 2].resource_spans.add(resource=resource.resource)
                    mine.scope_spans.add(scope=scope.scope, spans=[span])
                    number += 1
    return parts[0].SerializeToString(), parts[1].SerializeToString()


def once(server: Server, **expected: Any) -> dict[str, Any]:
    """The run of the project, once it has these counts."""
    deadline = time.monotonic() + SEEN_S
    while True:
        runs = server.runs(project=PROJECT)
        if len(runs) == 1 and expected.items() <= runs[0]["counts"].items():
            return runs[0]
        assert time.monotonic() < deadline, runs
        time.sleep(0.2)


def test_a_loop_of_which_each_collector_got_a_half_is_found_and_told_by_both(shared: list[Server]) -> None:
    for server, half in zip(shared, halves(), strict=True):
        http_protobuf(server, half, PROJECT)
    runs = [once(server, llm_calls=7, tool_calls=6, warnings=1) for server in shared]
    told = [server.get(f"/runs/{runs[0]['run_id']}/warnings")["data"] for server in shared]
    loops = [warning for warning in told[0] if warning["category"] == "loop"]
    assert [warning["type"] for warning in loops if warning["primary"]] == ["exact_repeat"]
    assert loops[0]["count"] == 6
    assert told[1] == told[0]
    assert [run["counts"]["warnings"] for run in runs] == [len(loops)] * 2
    assert runs[0] == runs[1]


def test_who_stays_looks_after_all_runs(shared: list[Server]) -> None:
    assert shared[1].stop() == 0
    try:
        for half in halves():
            http_protobuf(shared[0], renamed(half, 7), f"{PROJECT} later")
        deadline = time.monotonic() + SEEN_S
        while not any(run["counts"]["warnings"] for run in shared[0].runs(project=f"{PROJECT} later")):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        shared[1].start()
