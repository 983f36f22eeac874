"""Real payloads through a real collector and the real engine, judged by what the API answers."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests import conftest
from tests.corpus import Scenario, select
from tests.sending import CLIENT, TRANSPORTS, http_protobuf, one_by_one, renamed
from tests.server import Server
from tests.waiting import until

server = conftest.alone

SCENARIOS = list(
    select(
        "openinference/openai/",
        "openinference/langchain/",
        "openinference/openai-agents/",
        "openinference/anthropic/",
        "traceloop/openai/",
        "traceloop/anthropic/",
        "traceloop/langchain/",
        "gen_ai/genai-openai-",
        "gen_ai/openai-v2-",
    )
)


Runs = list[dict[str, Any]]
Events = list[dict[str, Any]]
ByProject = dict[str, Runs]


def counted(runs: Runs, name: str) -> int:
    return sum(run["counts"][name] for run in runs)


def summed(runs: Runs, name: str) -> int | None:
    known = [run["usage"][name] for run in runs if run["usage"][name] is not None]
    return sum(known) if known else None


def runs_of_all(server: Server, prefix: str) -> ByProject:
    """Runs by project, of the projects whose names begin so: one request for hundreds spares the store hundreds."""
    found: ByProject = collections.defaultdict(list)
    for run in server.runs(include="all", limit=1000):
        if run["project"].startswith(prefix):
            found[run["project"]].append(run)
    return found


def what_the_api_says(server: Server, runs: Runs) -> dict[str, Any]:
    """Of runs that count neither tools nor handoffs the first is asked for its events: that timelines show what is
    counted is said of all of them in `tests/mappers/test_timeline.py`."""
    return judged(
        runs,
        [
            server.get(f"/runs/{run['run_id']}/events")["data"]
            if run is runs[0] or run["counts"]["tool_calls"] or run["counts"]["handoffs"]
            else []
            for run in runs
        ],
    )


def judged(runs: Runs, events_of_each: Iterable[Events]) -> dict[str, Any]:
    """The judged fields of runs and of their events, in the corpus' terms."""
    handoffs, tools = [], collections.Counter()
    for _, events in sorted(zip(runs, events_of_each, strict=True), key=lambda pair: pair[0]["started_at"]):
        handoffs += [
            [event["handoff"]["from"], event["handoff"]["to"]]
            for event in events
            if event["type"] == "handoff_started"
        ]
        tools.update(event["tool"] for event in events if event["type"] == "tool_call_started")
    usage = {name: summed(runs, name) for name in ("input", "output", "cache_read", "reasoning")}
    return {
        "runs": sorted(
            (
                run["name"],
                run["status"],
                run["counts"]["spans"],
                run["setup_only"],
                run["duplicate_of"] is not None,
            )
            for run in runs
        ),
        "llm_calls": counted(runs, "llm_calls"),
        "llm_errors": counted(runs, "llm_errors"),
        "embedding_calls": counted(runs, "embeddings"),
        "tool_calls": counted(runs, "tool_calls"),
        "tool_errors": counted(runs, "tool_errors"),
        "tools": dict(tools),
        "handoffs": sorted(handoffs),
        "retries": counted(runs, "retries"),
        "models": sorted({model for run in runs for model in run["models"]}),
        "tokens": {name: value for name, value in usage.items() if value is not None},
        "embedding_tokens": summed(runs, "embedding"),
        "sessions": sorted({run["session_id"] for run in runs if run["session_id"]}),
        "users": sorted({run["user_id"] for run in runs if run["user_id"]}),
    }


def what_is_true(scenario: Scenario) -> dict[str, Any]:
    expect = scenario.expect
    handoff_tools = expect["tool_calls"] < sum(expect["tool_names"].values())
    return {
        "runs": sorted(
            (
                run["name"],
                run["status"],
                run["spans"],
                bool(run.get("setup_only")),
                bool(run.get("duplicate_of_other_trace")),
            )
            for run in expect["runs"]
        ),
        **{
            name: expect[name]
            for name in ("llm_calls", "llm_errors", "embedding_calls", "tool_calls", "tool_errors", "retries")
        },
        "tools": {
            name: count
            for name, count in expect["tool_names"].items()
            if not (handoff_tools and name.startswith("transfer_to_"))
        },
        "handoffs": sorted(expect["handoffs"]),
        "models": sorted(model for model in expect["models"] if model != "None"),
        "tokens": {
            name: expect["tokens"][name]
            for name in ("input", "output", "cache_read", "reasoning")
            if expect["tokens"].get(name) is not None
        },
        "embedding_tokens": expect["embedding_tokens"],
        "sessions": expect["sessions"],
        "users": expect["users"],
    }


def salt_of(transport: str) -> int:
    return 1 + list(TRANSPORTS).index(transport)


@pytest.fixture(scope="module")
def sent(server: Server) -> dict[str, ByProject]:
    """Runs of all judged scenarios by the transport that they were sent by."""
    for transport, send in TRANSPORTS.items():
        for scenario in SCENARIOS:
            for file in scenario.traces:
                body = renamed(file.read_bytes(), salt_of(transport))
                send(server, body, f"{transport}.{scenario.project}")
    server.settled()
    return {transport: runs_of_all(server, f"{transport}.") for transport in TRANSPORTS}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_captured_scenario_reads_as_what_happened(
    sent: dict[str, ByProject], scenario: Scenario, server: Server
) -> None:
    runs = sent["http-protobuf"][f"http-protobuf.{scenario.project}"]
    assert what_the_api_says(server, runs) == what_is_true(scenario)


@pytest.mark.parametrize("transport", [name for name in TRANSPORTS if name != "http-protobuf"])
def test_the_runs_are_the_same_by_every_transport(
    sent: dict[str, ByProject], transport: str, server: Server
) -> None:
    def told(transport: str) -> dict[str, dict[str, Any]]:
        """All of each run but its own names, and warnings: of a session they are carried by its latest run."""
        own = {"run_id", "project", "duplicate_of", "counts", "health"}
        return {
            f"{int(run['run_id'][:2], 16) ^ salt_of(transport):02x}{run['run_id'][2:]}": {
                **{name: value for name, value in run.items() if name not in own},
                **{name: count for name, count in run["counts"].items() if name != "warnings"},
                "scenario": project.removeprefix(f"{transport}."),
                "duplicate": run["duplicate_of"] is not None,
            }
            for project, runs in sent[transport].items()
            for run in runs
        }

    expected, found = told("http-protobuf"), told(transport)
    assert found.keys() == expected.keys()
    for run_id, run in found.items():
        assert run == expected[run_id]
    for scenario in SCENARIOS:
        if scenario.name.endswith("/handoff"):
            runs = sent[transport][f"{transport}.{scenario.project}"]
            assert what_the_api_says(server, runs) == what_is_true(scenario)


CAPTURED_JSON = [
    scenario for scenario in select("vercel_ai/") if scenario.name != "vercel_ai/ai-sdk-v7/embed"
]
"""Sent by JavaScript exporters as JSON. (The one left out: see the corrections of the mappers' test.)"""


@pytest.fixture(scope="module")
def captured_json(server: Server) -> ByProject:
    for scenario in CAPTURED_JSON:
        for file in scenario.traces:
            headers = {"Content-Type": "application/json", "X-Loop-Project": f"json.{scenario.project}"}
            response = CLIENT.post(
                f"{server.endpoints['http']}/v1/traces", content=file.read_bytes(), headers=headers
            )
            assert (response.status_code, response.content) == (200, b"{}")
    server.settled()
    return runs_of_all(server, "json.")


@pytest.mark.parametrize("scenario", CAPTURED_JSON, ids=str)
def test_json_as_javascript_sent_it_reads_as_what_happened(
    captured_json: ByProject, scenario: Scenario, server: Server
) -> None:
    assert what_the_api_says(server, captured_json[f"json.{scenario.project}"]) == what_is_true(scenario)


CONTENT_IN_LOGS = [
    scenario for scenario in select("gen_ai/openai-v2-events/", "gen_ai/genai-openai-event/") if scenario.logs
]


@pytest.fixture(scope="module")
def in_two_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector that got the records of some scenarios before their spans, of others after them, and in between was
    ended and started again: what came last met what was in the store."""
    server = Server(tmp_path_factory.mktemp("parts") / "data").start()

    def send(signal: str, first: str) -> None:
        for scenario in CONTENT_IN_LOGS:
            for file in scenario.traces if signal == "traces" else scenario.logs:
                body = renamed(file.read_bytes(), 64 + len(first), signal)
                http_protobuf(server, body, f"{first}-first.{scenario.project}", signal)

    send("logs", first="logs")
    send("traces", first="traces")
    assert server.stop() == 0
    server.start()
    send("traces", first="logs")
    send("logs", first="traces")
    server.settled()
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize("first", ["logs", "traces"])
def test_content_that_came_as_log_records_is_in_its_call(in_two_parts: Server, first: str) -> None:
    of_all = runs_of_all(in_two_parts, f"{first}-first.")
    for scenario in CONTENT_IN_LOGS:
        runs = of_all[f"{first}-first.{scenario.project}"]
        events_of_each = [
            in_two_parts.get(f"/runs/{run['run_id']}/events", fields="io")["data"] for run in runs
        ]
        assert judged(runs, events_of_each) == what_is_true(scenario)
        for events in events_of_each:
            calls = [event for event in events if event["type"] == "llm_call_completed"]
            assert all(call["input"] and call["output"] and call["finish_reasons"] for call in calls)


REDELIVERED = [
    scenario
    for scenario in SCENARIOS
    if scenario.name.endswith(("/loop", "/handoff", "/wrapped", "/toolerr"))
]


def test_a_payload_sent_again_and_in_pieces_changes_nothing(server: Server) -> None:
    scenarios = REDELIVERED[::2]  # of all of them: tests/collector/test_any_order.py

    def rows() -> tuple[ByProject, dict[str, Any]]:
        """All runs; of every scenario's first and every third after it all that is to be seen."""
        by_project = runs_of_all(server, "again.")
        return by_project, {
            run["run_id"]: (
                server.get(f"/runs/{run['run_id']}/events", fields="io"),
                server.get(f"/runs/{run['run_id']}/spans"),
            )
            for runs in by_project.values()
            for run in runs[::3]
        }

    def send(parts: list[bytes], project: str) -> None:
        for part in parts:
            http_protobuf(server, part, project)

    for scenario in scenarios:
        bodies = [renamed(file.read_bytes(), 9) for file in scenario.traces]
        send(bodies, f"again.{scenario.project}")
    once_status = server.settled()
    once, shown = rows()
    assert len(shown) >= len(once) == len(scenarios)
    for scenario in scenarios:
        bodies = [renamed(file.read_bytes(), 9) for file in scenario.traces]
        send(bodies * 2, f"again.{scenario.project}")
        pieces = [piece for body in bodies for piece in one_by_one(body, seed=len(scenario.name))]
        send(pieces, f"again.{scenario.project}")
    status = server.settled()
    assert status["stored"] == once_status["stored"]
    again, shown_again = rows()
    assert again == once
    assert shown_again == shown


@pytest.mark.parametrize("seed", [1, 2])
def test_spans_one_a_request_in_any_order_give_the_same_run(server: Server, seed: int) -> None:
    project, scenarios = f"pieces-{seed}", REDELIVERED[seed - 1 :: 2]
    for scenario in scenarios:
        for file in scenario.traces:
            for piece in one_by_one(renamed(file.read_bytes(), 128 + seed), seed):
                http_protobuf(server, piece, f"{project}.{scenario.project}")
    server.settled()
    runs = runs_of_all(server, project)
    for scenario in scenarios:
        assert what_the_api_says(server, runs[f"{project}.{scenario.project}"]) == what_is_true(scenario)


def test_a_session_told_by_log_records_is_a_run(server: Server) -> None:
    def record(second: int, name: str, **attributes: str) -> dict[str, Any]:
        attributes |= {"event.name": name, "session.id": "session of the test", "user.id": "u-1"}
        return {
            "timeUnixNano": str((1_790_000_000 + second) * 10**9),
            "body": {"stringValue": f"claude_code.{name}"},
            "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in attributes.items()],
        }

    request = {"model": "claude-sonnet-4-5", "input_tokens": "100", "output_tokens": "20", "cost_usd": "0.01"}
    records = [
        record(0, "user_prompt", prompt="Fix the test"),
        record(2, "api_request", **request, duration_ms="1500"),
        record(3, "tool_result", tool_name="Bash", success="true", duration_ms="200"),
        record(5, "api_request", **request, duration_ms="1000"),
    ]
    before = server.settled()["stored"]
    for batch in ([records[3], records[1]], [records[2]], [records[0]], records):
        scope = {"scope": {"name": "com.anthropic.claude_code.events"}, "logRecords": batch}
        response = CLIENT.post(
            f"{server.endpoints['http']}/v1/logs",
            json={"resourceLogs": [{"resource": {}, "scopeLogs": [scope]}]},
            headers={"X-Loop-Project": "coding"},
        )
        assert response.status_code == 200

    def whole() -> bool:
        told = [(run["duration_ms"], run["counts"]["llm_calls"]) for run in server.runs(project="coding")]
        return told == [(5000, 2)]

    until(whole, lambda: server.runs(project="coding"))
    (run,) = server.runs(project="coding")
    assert (run["name"], run["session_id"], run["user_id"]) == ("claude_code", "session of the test", "u-1")
    assert (run["status"], run["usage"]["total"], run["cost_usd"]) == ("completed", 240, 0.02)
    assert (run["counts"]["tool_calls"], run["counts"]["spans"]) == (1, 0)
    types = [event["type"] for event in server.get(f"/runs/{run['run_id']}/events")["data"]]
    assert types.count("llm_call_completed") == 2
    assert types.count("tool_call_completed") == 1
    until(lambda: server.get("/status")["stored"]["events"] == before["events"] + 4)
    assert server.get("/status")["stored"]["spans"] == before["spans"]
