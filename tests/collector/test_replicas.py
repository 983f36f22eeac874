"""Two collectors on one store come to the same runs, warnings and totals as one, whoever gets which span. Three, under
load, are in `tests/chaos`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.clickhouse_front import Front
from tests.corpus import Scenario, select
from tests.sending import TRANSPORTS, http_protobuf, one_by_one, renamed
from tests.server import COMMAND, Server, with_schema
from tests.waiting import PATIENCE_S, until

SCENARIOS: Sequence[Scenario] = [
    *select(
        "openinference/langchain/handoff",
        "gen_ai/openai-v2-events/tools",
        "openinference/openai-agents/loop",
    )
]
SALT = 0x5A


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Both come at once. (To a store without tables: `tests/sinks/test_server.py`.)"""
    directory = tmp_path_factory.mktemp("replicas")
    with_schema(directory / "store")
    front = Front(directory / "store").start()
    servers = [
        Server(
            directory / name,
            *("--set", f"sinks.clickhouse.url={front.url}"),
            *("--set", "sinks.clickhouse.batch.flush_timeout=100ms"),
            *("--set", "loops.replicas=2", "--set", "loops.sweep_interval=1s"),
            command=command,
        )
        for name, command in (("a", COMMAND), ("b", ()))  # each with hashes of its own, as on another machine
    ]
    at_once([server.start for server in servers])
    yield servers
    for server in servers:
        if server.process.poll() is None:
            assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()
    front.stop()


def at_once(calls: Sequence[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def agrees(said: Callable[[], object], wanted: object) -> None:
    """What both say becomes what is wanted: what one stores the other sees when it looks."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := said()) != wanted:
        if time.monotonic() > deadline:
            assert found == wanted
        time.sleep(0.2)


def told(server: Server, project: str) -> dict[str, Any]:
    """Runs, warnings and totals of a project."""
    runs = server.runs(project=project, include="all")
    warnings = server.get("/warnings", project=project, limit=1000)["data"]
    return {
        "runs": {run["run_id"]: run for run in runs},
        "warnings": {
            warning["warning_id"]: [
                warning[name] for name in ("run_id", "type", "count", "state", "wasted_tokens")
            ]
            for warning in warnings
        },
    }


def timelines(server: Server, run_ids: Iterable[str]) -> dict[str, Any]:
    return {
        run_id: [
            (event["event_id"], event["duplicate_of"], event["handoff"])
            for event in server.get(f"/runs/{run_id}/events", limit=1000)["data"]
        ]
        for run_id in run_ids
    }


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_spans_of_one_run_may_come_to_any_of_them(
    two: list[Server], server: Server, scenario: Scenario
) -> None:
    project = f"shared.{scenario.project}"
    sends = list(TRANSPORTS.values())
    number = 0
    for file in scenario.traces:
        body = renamed(file.read_bytes(), SALT)
        http_protobuf(server, body, project)
        for part in one_by_one(body, 7):
            to = two if number % 5 == 0 else [two[number % 2]]  # now and then both get the same
            for one in to:
                sends[number % 3](one, part, project)
            number += 1
    for file in scenario.logs:
        body = renamed(file.read_bytes(), SALT, "logs")
        http_protobuf(server, body, project, "logs")
        http_protobuf(two[number % 2], body, project, "logs")
    server.settled()
    for one in two:
        one.settled()
    wanted = told(server, project)
    assert wanted["runs"]
    events = timelines(server, wanted["runs"])
    for one in two:
        agrees(lambda one=one: told(one, project), wanted)
        agrees(lambda one=one: timelines(one, events), events)


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


def once(server: Server, project: str, **expected: Any) -> dict[str, Any]:
    """The run of the project, once it has these counts."""
    found: list[dict[str, Any]] = []

    def seen() -> bool:
        found[:] = server.runs(project=project)
        return len(found) == 1 and expected.items() <= found[0]["counts"].items()

    until(seen, lambda: found, every_s=0.2)
    return found[0]


def test_a_loop_of_which_each_collector_got_a_half_is_found_and_told_by_both(two: list[Server]) -> None:
    for server, half in zip(two, halves(), strict=True):
        http_protobuf(server, half, "halves")
    runs = [once(server, "halves", llm_calls=7, tool_calls=6, warnings=1) for server in two]
    told = [server.get(f"/runs/{runs[0]['run_id']}/warnings")["data"] for server in two]
    loops = [warning for warning in told[0] if warning["category"] == "loop"]
    assert [warning["type"] for warning in loops if warning["primary"]] == ["exact_repeat"]
    assert loops[0]["count"] == 6
    assert told[1] == told[0]
    assert [run["counts"]["warnings"] for run in runs] == [len(loops)] * 2
    assert runs[0] == runs[1]


def test_each_knows_what_is_stored_in_all(two: list[Server]) -> None:
    runs = two[0].runs(include="all")
    wanted = {"spans": sum(run["counts"]["spans"] for run in runs), "runs": len(runs)}
    for one in two:
        agrees(lambda one=one: {name: one.get("/status")["stored"][name] for name in wanted}, wanted)


def test_a_run_that_one_deletes_is_gone_for_the_other(two: list[Server]) -> None:
    body = renamed(SCENARIOS[0].traces[0].read_bytes(), 0x3C)
    for one in two:
        http_protobuf(one, body, "deleted")
        one.settled()
    [*gone] = [run["run_id"] for run in two[0].runs(project="deleted", include="all")]
    answer = two[0].api.post("/api/v1/deletions", json={"filter": {"project": "deleted"}})
    assert answer.status_code in (200, 201, 202), answer.text
    time.sleep(1)
    http_protobuf(two[1], one_by_one(body, 1)[0], "deleted-late")
    agrees(lambda: two[1].runs(project="deleted", include="all"), [])
    agrees(lambda: [two[1].api.get(f"/api/v1/runs/{run}").status_code for run in gone], [410] * len(gone))


def test_one_that_is_killed_loses_nothing_that_it_acknowledged(two: list[Server]) -> None:
    bodies = [renamed(SCENARIOS[0].traces[0].read_bytes(), salt) for salt in range(0x60, 0x63)]
    for number, body in enumerate(bodies):
        for part in one_by_one(body, number):
            http_protobuf(two[number % 2], part, "killed")
    two[1].kill()
    for body in bodies:
        http_protobuf(two[0], one_by_one(body, 3)[0], "killed")
    two[1].start()
    for one in two:
        one.settled()
    spans = len(one_by_one(bodies[0], 0))
    for one in two:
        agrees(
            lambda one=one: sum(run["counts"]["spans"] for run in one.runs(project="killed", include="all")),
            spans * len(bodies),
        )


def test_who_stays_looks_after_all_runs(two: list[Server]) -> None:
    assert two[1].stop() == 0
    for half in halves():
        http_protobuf(two[0], renamed(half, 7), "later")
    until(lambda: any(run["counts"]["warnings"] for run in two[0].runs(project="later")), every_s=0.2)
