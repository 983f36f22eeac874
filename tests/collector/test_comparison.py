"""Runs side by side, content on demand and transcripts of captured runs, asked of a real collector."""

from __future__ import annotations

from typing import Any

import pytest

from tests import conftest
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

server = conftest.alone

PROJECT = "comparison"


@pytest.fixture(scope="module")
def runs(server: Server) -> list[dict[str, Any]]:
    for scenario in select(
        "openinference/openai-agents/", "openinference/openai/tools", "gen_ai/openai-v2-events/"
    ):
        for file in scenario.traces:
            http_protobuf(server, renamed(file.read_bytes(), 11), PROJECT)
            if scenario.name.startswith("openinference/openai-agents/tools"):
                other = file.read_bytes().replace(b"Paris", b"Turin")
                http_protobuf(server, renamed(other, 12), PROJECT)
        for file in scenario.logs:
            http_protobuf(server, renamed(file.read_bytes(), 11, "logs"), PROJECT, "logs")
    server.settled()
    return server.runs(project=PROJECT)


def twins(runs: list[dict[str, Any]]) -> tuple[str, str]:
    """A run, and the same with another city in it."""
    by_rest: dict[str, str] = {}
    for run in runs:
        rest = run["run_id"][2:]
        if rest in by_rest:
            return by_rest[rest], run["run_id"]
        by_rest[rest] = run["run_id"]
    raise AssertionError("no such runs")


# --------------------------------------------------------------------------- compare


def test_a_run_is_like_itself(server: Server, runs: list[dict[str, Any]]) -> None:
    for run in runs[::3]:
        found = server.get("/compare", a=run["run_id"], b=run["run_id"])
        assert found["a"] == found["b"] == run
        assert (
            found["steps"]["alike"] == found["steps"]["paired"] == found["steps"]["a"] == found["steps"]["b"]
        )
        assert found["steps"]["first_divergence"] is None
        assert found["prompt_diff"] == {}
        assert {value for value in found["delta"].values() if value is not None} <= {0}
        assert found["tools"] == {"only_a": [], "only_b": [], "both": sorted(run["tools"])}


def test_the_first_step_that_differs_is_told_with_what_differs(
    server: Server, runs: list[dict[str, Any]]
) -> None:
    a, b = twins(runs)
    found = server.get("/compare", a=a, b=b)
    first = found["steps"]["first_divergence"]
    assert first["at"] == next(at for at, pair in enumerate(found["steps"]["pairs"]) if pair["differs"])
    assert first["a"]["name"] == first["b"]["name"]
    assert first["diff"]
    assert {"Paris", "Turin"} <= {
        word for change in first["diff"] for side in "ab" for word in _words(change[side])
    }
    assert "Turin" in found["prompt_diff"]["user"]
    omitted = server.get("/compare", a=a, b=b, max_bytes=5)
    assert (omitted["prompt_diff"], omitted["patch_omitted"]) == ({}, ["user"])
    assert server.get("/compare", a=a, b=b, limit=1)["steps"]["truncated"]


def _words(value: Any) -> list[str]:
    return str(value).replace('"', " ").replace("?", " ").replace("'", " ").split()


def test_runs_that_share_little_say_what_each_has_alone(server: Server, runs: list[dict[str, Any]]) -> None:
    few, many = (choose(runs, key=lambda run: run["counts"]["tool_calls"]) for choose in (min, max))
    found = server.get("/compare", a=few["run_id"], b=many["run_id"])
    steps = found["steps"]
    assert steps["paired"] + steps["only_a"] == steps["a"]
    assert steps["paired"] + steps["only_b"] == steps["b"]
    assert len(steps["pairs"]) == steps["paired"] + steps["only_a"] + steps["only_b"]
    assert found["delta"]["counts.tool_calls"] == many["counts"]["tool_calls"] - few["counts"]["tool_calls"]
    assert set(found["tools"]["only_b"]) == set(many["tools"]) - set(few["tools"])
    assert set(found["agents"]["only_b"]) == set(many["agents"]) - set(few["agents"])
    by_index = server.get("/compare", a=few["run_id"], b=many["run_id"], align="index")["steps"]
    assert by_index["paired"] == min(steps["a"], steps["b"])


@pytest.mark.parametrize(("b", "status"), [(None, 400), ("f" * 32, 404)])
def test_both_runs_must_be_there(
    server: Server, runs: list[dict[str, Any]], b: str | None, status: int
) -> None:
    parameters = {"a": runs[0]["run_id"]} | ({"b": b} if b else {})
    assert server.api.get("/api/v1/compare", params=parameters).status_code == status


# --------------------------------------------------------------------------- content


def test_content_is_whole_where_events_keep_a_part(server: Server, runs: list[dict[str, Any]]) -> None:
    shown = 0
    for run in runs:
        events = server.get(f"/runs/{run['run_id']}/events", type="llm_call_completed", fields="io")["data"]
        for event in [event for event in events if event["input"]][:2]:
            path = f"/api/v1/runs/{run['run_id']}/events/{event['event_id']}/content/input"
            whole = server.api.get(path)
            assert whole.status_code == 200
            assert whole.headers["x-content-truncated"] == "false"
            last = event["input"].splitlines()[0]
            assert last in whole.text or last in whole.text.encode().decode(
                "unicode_escape", errors="replace"
            )
            shown += 1
    assert shown > 5


def test_content_comes_in_ranges(server: Server, runs: list[dict[str, Any]]) -> None:
    run = max(runs, key=lambda run: run["counts"]["tool_calls"])
    events = server.get(f"/runs/{run['run_id']}/events", type="tool_call_completed")["data"]
    path = f"/api/v1/runs/{run['run_id']}/events/{events[0]['event_id']}/content/output"
    whole = server.api.get(path).content
    size = len(whole)
    for wanted, part, place in (
        ("bytes=0-3", whole[:4], f"bytes 0-3/{size}"),
        ("bytes=2-", whole[2:], f"bytes 2-{size - 1}/{size}"),
        ("bytes=-3", whole[-3:], f"bytes {size - 3}-{size - 1}/{size}"),
        ("bytes=1-99999999", whole[1:], f"bytes 1-{size - 1}/{size}"),
    ):
        answer = server.api.get(path, headers={"Range": wanted})
        assert (answer.status_code, answer.content, answer.headers["content-range"]) == (206, part, place)
    beyond = server.api.get(path, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert server.api.get(path, headers={"Range": "bytes=0-1,3-4"}).content == whole


def test_content_that_is_not_there_is_a_404_that_says_why(server: Server, runs: list[dict[str, Any]]) -> None:
    run_id = runs[0]["run_id"]
    for event_id, field, says in (
        ("0" * 16 + ".end", "input", "no event"),
        (f"{run_id}.run.start", "input", "own entry"),
        ("x", "metadata", "input and output"),
    ):
        answer = server.api.get(f"/api/v1/runs/{run_id}/events/{event_id}/content/{field}")
        assert answer.status_code == 404
        assert says in answer.json()["detail"]


# --------------------------------------------------------------------------- transcripts


def test_a_run_comes_as_a_short_text(server: Server, runs: list[dict[str, Any]]) -> None:
    looping = max(runs, key=lambda run: run["counts"]["warnings"])
    for run in (looping, *runs[:5]):
        answer = server.api.get(f"/api/v1/runs/{run['run_id']}", headers={"Accept": "text/markdown"})
        assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
        assert answer.text.startswith(f"# {run['name']}: {run['status']}\n")
        calls = run["counts"]["llm_calls"]
        assert f"{calls} LLM call{'s' if calls != 1 else ''} (" in answer.text
        assert all(tool in answer.text for tool in run["tools"])
    answer = server.api.get(f"/api/v1/runs/{looping['run_id']}", headers={"Accept": "text/markdown"})
    assert looping["top_warning"]["type"] in answer.text
    assert "calls `" in answer.text
    messages = server.get(f"/runs/{looping['run_id']}/messages")["data"]
    assert answer.text.count("\n### ") == len(messages)
