"""Sessions, and what runs and their events have in common, asked of a real collector that holds captured runs."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

PROJECT = "groups"


@pytest.fixture(scope="module")
def runs(server: Server) -> list[dict[str, Any]]:
    for scenario in select("openinference/openai/", "openinference/openai-agents/", "langfuse/"):
        for file in scenario.traces:
            http_protobuf(server, renamed(file.read_bytes(), 33), PROJECT)
            if scenario.name.startswith("openinference/openai/session"):
                other = file.read_bytes().replace(b"sess-42", b"sess-43")
                http_protobuf(server, renamed(other, 36), PROJECT)
    server.settled()
    return server.runs(project=PROJECT)


def grouped(server: Server, by: str, **how: Any) -> dict[str, dict[str, Any]]:
    found = server.get(f"/{by}", **({"project": PROJECT, "limit": 1000} | how))["data"]
    return {group["value"]: group for group in found}


# --------------------------------------------------------------------------- sessions


def test_sessions_add_up_their_runs(server: Server, runs: list[dict[str, Any]]) -> None:
    sessions = server.get("/sessions", project=PROJECT, limit=1000)["data"]
    by_session: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        if run["session_id"]:
            by_session.setdefault(run["session_id"], []).append(run)
    assert len(by_session) > 1
    assert {session["session_id"] for session in sessions} == set(by_session)
    assert [session["last_run_at"] for session in sessions] == sorted(
        (session["last_run_at"] for session in sessions), reverse=True
    )
    for session in sessions:
        its = by_session[session["session_id"]]
        assert session["project"] == PROJECT
        assert session["counts"]["runs"] == len(its)
        assert session["statuses"] == Counter(run["status"] for run in its)
        for name in ("llm_calls", "tool_calls", "warnings"):
            assert session["counts"][name] == sum(run["counts"][name] for run in its)
        for name in ("input", "output"):
            told = [run["usage"][name] for run in its if run["usage"][name] is not None]
            assert session["usage"][name] == (sum(told) if told else None)
        assert session["models"] == sorted({model for run in its for model in run["models"]})
        assert session["last_run_at"] == max(run["started_at"] for run in its)
        assert session["started_at"] == min(run["started_at"] for run in its)
        assert session["input"] == min(its, key=lambda run: run["started_at"])["input"]


def test_a_session_says_what_was_said_though_no_root_does(server: Server) -> None:
    """Roots of OpenAI's Agents SDK have neither input nor output."""
    (scenario,) = select("openinference/openai-agents/tools")
    for file in scenario.traces:
        request = ExportTraceServiceRequest.FromString(file.read_bytes())
        for span in (
            span for part in request.resource_spans for one in part.scope_spans for span in one.spans
        ):
            span.attributes.add(key="session.id").value.string_value = "silent roots"
        http_protobuf(server, renamed(request.SerializeToString(), 38), "silent")
    server.settled()
    told = server.get("/sessions/silent roots")
    assert len(told["data"]) == told["session"]["counts"]["runs"] == 1
    (run,) = told["data"]
    messages = server.get(f"/runs/{run['run_id']}/messages")["data"]
    assert run["input"] == _text(next(one for one in messages if one["role"] == "user"))
    assert run["output"] == _text(messages[-1])
    (listed,) = server.get("/sessions", project="silent")["data"]
    for other in (
        told["session"],
        listed,
        server.get(f"/runs/{run['run_id']}"),
        server.runs(project="silent")[0],
    ):
        assert (other["input"], other["output"]) == (run["input"], run["output"])


def _text(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def test_sessions_come_page_by_page_and_filtered(server: Server, runs: list[dict[str, Any]]) -> None:
    whole = server.get("/sessions", project=PROJECT, limit=1000)["data"]
    paged: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.get("/sessions", project=PROJECT, limit=1, **cursor)
        paged += page["data"]
        if page["page"]["next_cursor"] is None:
            break
        cursor = {"cursor": page["page"]["next_cursor"]}
    assert paged == whole
    chosen = server.get("/sessions", project=PROJECT, session=whole[0]["session_id"])["data"]
    assert chosen == whole[:1]
    assert server.get("/sessions", project=PROJECT, q="name:no-such-run")["data"] == []
    lines = server.api.get(
        "/api/v1/sessions",
        params={"project": PROJECT, "limit": 1000},
        headers={"Accept": "application/x-ndjson"},
    )
    assert [json.loads(line) for line in lines.text.splitlines()] == whole


def test_a_session_has_its_runs_the_latest_first(server: Server, runs: list[dict[str, Any]]) -> None:
    summary = max(
        server.get("/sessions", project=PROJECT)["data"], key=lambda session: session["counts"]["runs"]
    )
    session_id = summary["session_id"]
    found = server.get(f"/sessions/{session_id}", project=PROJECT)
    assert found["session"] == summary
    assert found["data"] == [run for run in runs if run["session_id"] == session_id]
    assert len(found["data"]) > 1
    first = server.get(f"/sessions/{session_id}", project=PROJECT, limit=1)
    rest = server.get(
        f"/sessions/{session_id}", project=PROJECT, limit=1, cursor=first["page"]["next_cursor"]
    )
    assert first["data"] + rest["data"] == found["data"][:2]
    assert server.api.get("/api/v1/sessions/none").status_code == 404


def test_a_session_of_two_projects_must_be_told_apart(server: Server, runs: list[dict[str, Any]]) -> None:
    scenario = next(s for s in select("openinference/openai/session"))
    for project in ("groups-a", "groups-b"):
        for file in scenario.traces:
            http_protobuf(server, renamed(file.read_bytes(), 34 + (project == "groups-b")), project)
    server.settled()
    session_id = server.runs(project="groups-a")[0]["session_id"]
    assert server.api.get(f"/api/v1/sessions/{session_id}").status_code == 409
    for project in ("groups-a", "groups-b"):
        found = server.get(f"/sessions/{session_id}", project=project)
        assert {run["project"] for run in found["data"]} == {project}


# --------------------------------------------------------------------------- what they have in common


def test_projects_and_users_are_told_by_their_runs(server: Server, runs: list[dict[str, Any]]) -> None:
    (project,) = grouped(server, "projects").values()
    assert (project["value"], project["runs"], project["calls"]) == (PROJECT, len(runs), len(runs))
    assert project["errors"] == sum(run["status"] == "failed" for run in runs)
    assert project["error_rate"] == pytest.approx(project["errors"] / len(runs), abs=1e-6)
    assert project["input_tokens"] == sum(run["usage"]["input"] or 0 for run in runs)
    assert project["cost_usd"] == pytest.approx(sum(run["cost_usd"] or 0 for run in runs))
    assert 0 < project["duration_ms"]["p50"] <= project["duration_ms"]["p95"]
    users = grouped(server, "users")
    assert {user: group["runs"] for user, group in users.items()} == Counter(
        run["user_id"] for run in runs if run["user_id"]
    )
    assert users


def test_models_tools_and_services_are_told_by_their_calls(
    server: Server, runs: list[dict[str, Any]]
) -> None:
    models = grouped(server, "models")
    assert {*models} >= {model for run in runs for model in run["models"]}
    sums = server.get("/aggregates", project=PROJECT, metrics="llm_calls", by="model")["data"]
    for row in sums:
        if row["values"]["llm_calls"] and row["keys"]["model"]:
            assert models[row["keys"]["model"]]["calls"] == row["values"]["llm_calls"]
    assert sum(group["cost_usd"] or 0 for group in models.values()) == pytest.approx(
        sum(run["cost_usd"] or 0 for run in runs)
    )
    tools = grouped(server, "tools")
    assert {tool: group["runs"] for tool, group in tools.items()} == Counter(
        tool for run in runs for tool in run["tools"]
    )
    assert sum(group["calls"] for group in tools.values()) == sum(run["counts"]["tool_calls"] for run in runs)
    assert sum(group["errors"] for group in tools.values()) == sum(
        run["counts"]["tool_errors"] for run in runs
    )
    services = grouped(server, "services")
    assert {*services} <= {service for run in runs for service in run["services"]}
    assert services
    assert {*grouped(server, "agents")} <= {agent for run in runs for agent in run["agents"]}
    assert grouped(server, "agents")


def test_groups_are_of_the_runs_that_the_filter_chooses(server: Server, runs: list[dict[str, Any]]) -> None:
    chosen = grouped(server, "models", q="status:failed")
    failed = [run for run in runs if run["status"] == "failed"]
    assert (
        0 < sum(group["calls"] for group in chosen.values()) <= sum(run["counts"]["spans"] for run in failed)
    )
    assert grouped(server, "tools", until="2000-01-01T00:00:00Z") == {}
    one = server.get("/models", project=PROJECT, limit=1)
    assert (len(one["data"]), one["meta"]["truncated"]) == (1, True)
    assert one["data"][0]["calls"] == max(group["calls"] for group in grouped(server, "models").values())
