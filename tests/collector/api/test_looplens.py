"""LoopLens' SDK and page, pointed here: what they send and ask, in their order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.server import Server
from tests.waiting import until

SECONDS = 5.0


class Sdk:
    """Sends as LoopLens' SDK does: the run first, then each event, without a key."""

    def __init__(self, server: Server, run_id: str, project: str) -> None:
        self.url = f"{server.endpoints['api']}/compat/looplens/api"
        self.run_id, self.project, self.sent = run_id, project, 0
        self.began = datetime.now(UTC) - timedelta(minutes=1)  # the page lists the latest runs only
        self.post("runs", {"id": run_id, "name": "research", "project": project, "metadata": {}})
        self.event("run_started", name="research")

    def post(self, what: str, document: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/{what}", json=document)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def event(self, kind: str, **more: Any) -> dict[str, Any]:
        self.sent += 1
        return self.post(
            "events",
            {
                "event_id": f"evt_{self.run_id}_{self.sent}",
                "run_id": self.run_id,
                "sequence": self.sent,
                "timestamp": (self.began + timedelta(seconds=self.sent)).isoformat(),
                "type": kind,
                "project": self.project,
                **more,
            },
        )


def test_what_the_sdk_sends_is_a_run_that_its_page_can_show(server: Server) -> None:
    sdk = Sdk(server, "run_a1b2c3", "lenses")
    assert sdk.event("llm_call_started", name="plan", agent="writer", model="gpt-4o-mini")["sequence"] == 2
    sdk.event(
        "llm_call_completed",
        name="plan",
        agent="writer",
        model="gpt-4o-mini",
        tokens=30,
        cost=0.01,
        latency_ms=900,
    )
    for _ in range(4):  # as its decorator sends them: the end has the name alone
        sdk.event("tool_call_started", name="search", tool="search", input={"args": ["eddies"], "kwargs": {}})
        sdk.event("tool_call_completed", name="search", latency_ms=5, output={"result": []})
    server.settled()

    def get(path: str) -> Any:
        answer = server.api.get(f"/compat/looplens/api{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert get("/runs/run_a1b2c3")["status"] == "running"
    sdk.event("run_completed", status="completed")
    server.settled()
    (summary,) = [run for run in get("/runs") if run["project"] == "lenses"]
    assert (summary["name"], summary["status"], summary["total_tokens"]) == ("research", "completed", 30)
    assert summary["total_cost"] == 0.01
    assert summary["warning_count"] >= 1
    run = get("/runs/run_a1b2c3")
    assert run["id"] == summary["id"] == get(f"/runs/otel-{summary['id']}")["id"]
    events = get(f"/runs/{run['id']}/events")
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    tools = [event for event in events if event["type"] == "tool_call_completed"]
    assert len(tools) == 4
    assert "eddies" in json.dumps(tools[0]["input"])
    assert tools[0]["output"] == {"result": []}
    warnings = get(f"/runs/{run['id']}/warnings")
    assert "repeated_tool_call_exact_input" in {warning["type"] for warning in warnings}
    assert {warning["event_id"] for warning in warnings} <= {event["event_id"] for event in events}
    metrics = get(f"/runs/{run['id']}/metrics")
    assert (metrics["total_llm_calls"], metrics["total_tool_calls"], metrics["most_used_tool"]) == (
        1,
        4,
        "search",
    )
    assert metrics["loop_health_status"] == summary["loop_health_status"]
    with server.api.stream("GET", f"/compat/looplens/api/runs/{run['id']}/stream") as stream:
        line = next(line for line in stream.iter_lines() if line.startswith("data: "))
    update = json.loads(line.removeprefix("data: "))
    assert (update["type"], update["status"], len(update["events"])) == ("update", "completed", len(events))
    assert get("/health")["status"] == "healthy"


def test_an_event_that_is_sent_again_counts_once(server: Server) -> None:
    sdk = Sdk(server, "run_twice", "lenses-twice")
    for _ in range(3):
        sdk.event("tool_call_started", name="search", tool="search")
        sdk.sent -= 1
    sdk.sent += 1
    for _ in range(3):
        sdk.event("tool_call_completed", name="search", latency_ms=5)
        sdk.sent -= 1
    sdk.sent += 1
    sdk.event("run_failed", status="failed", error={"type": "ValueError", "message": "no"})
    server.settled()
    (run,) = until(lambda: server.runs(project="lenses-twice"))
    assert (run["status"], run["counts"]["tool_calls"]) == ("failed", 1)


def test_what_is_no_event_is_refused(server: Server) -> None:
    url = f"{server.endpoints['api']}/compat/looplens/api"
    assert httpx.post(f"{url}/events", content=b"{}").status_code == 415
    assert httpx.post(f"{url}/events", json=[]).status_code == 400
    refused = httpx.post(f"{url}/events", json={"type": "llm_call_started"})
    assert (refused.status_code, "run_id" in refused.json()["detail"]) == (400, True)
    assert httpx.get(f"{url}/runs").status_code == 401
    assert server.api.get("/compat/looplens/api/runs/none").status_code == 404
