"""Trees and graphs of captured runs, asked of a real collector."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests import conftest
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

server = conftest.alone

PROJECT = "structure"


@pytest.fixture(scope="module")
def runs(server: Server) -> list[dict[str, Any]]:
    """Runs of agents that call tools and hand over."""
    for scenario in select(
        "openinference/openai-agents/", "openinference/openai/wrapped", "openinference/openai/embed"
    ):
        for file in scenario.traces:
            http_protobuf(server, renamed(file.read_bytes(), 55), PROJECT)
    server.settled()
    return server.runs(project=PROJECT)


def test_a_tree_has_every_span_once_below_its_parent(server: Server, runs: list[dict[str, Any]]) -> None:
    for run in runs:
        tree = server.get(f"/runs/{run['run_id']}/tree", collapse_repeats=0)
        columns = tree["data"]
        spans = {span["span_id"]: span for span in server.get(f"/runs/{run['run_id']}/spans")["data"]}
        assert sorted(columns["id"]) == sorted(spans)
        assert {len(column) for column in columns.values()} == {len(spans)}
        for place, parent in enumerate(columns["parent"]):
            span = spans[columns["id"][place]]
            above = span["parent_span_id"] if span["parent_span_id"] in spans else None
            assert (None if parent is None else columns["id"][parent]) == above
            assert parent is None or parent < place
        assert (tree["meta"]["total"], tree["meta"]["truncated"]) == (len(spans), False)
        duplicate = tree["meta"]["flags"]["duplicate"]
        counted = [
            tokens or 0
            for tokens, flags in zip(columns["tokens"], columns["flags"], strict=True)
            if not flags & duplicate
        ]
        assert sum(counted) == (run["usage"]["total"] or 0) + (run["usage"]["embedding"] or 0)


def test_a_tree_shows_the_loop_folded_and_marked(server: Server, runs: list[dict[str, Any]]) -> None:
    looping = max(runs, key=lambda run: run["counts"]["warnings"])
    assert looping["counts"]["warnings"]
    whole = server.get(f"/runs/{looping['run_id']}/tree", collapse_repeats=0)
    assert any(flags & whole["meta"]["flags"]["warned"] for flags in whole["data"]["flags"])
    folded = server.get(f"/runs/{looping['run_id']}/tree", collapse_repeats=2)
    assert folded["folded"]
    hidden = sum(fold["hidden"] for fold in folded["folded"])
    assert folded["meta"]["shown"] + hidden == folded["meta"]["total"] == whole["meta"]["shown"]


def test_a_tree_tells_which_steps_did_the_same(server: Server, runs: list[dict[str, Any]]) -> None:
    looping = max(runs, key=lambda run: run["counts"]["warnings"])
    columns = server.get(f"/runs/{looping['run_id']}/tree", collapse_repeats=0)["data"]
    said: dict[int, set[tuple[str, str, str]]] = {}
    for node_id, kind, same in zip(columns["id"], columns["kind"], columns["same"], strict=True):
        if kind == "TOOL" and same:
            [preview] = server.get(f"/runs/{looping['run_id']}/previews", ids=node_id)["data"]
            said.setdefault(same, set()).add((kind, preview["input"], preview["output"]))
    assert said
    assert all(len(contents) == 1 for contents in said.values())


def test_previews_tell_what_the_events_of_some_nodes_read_and_wrote(
    server: Server, runs: list[dict[str, Any]]
) -> None:
    run_id = runs[0]["run_id"]
    entries = server.get(f"/runs/{run_id}/events", fields="io")["data"]
    ended = {one["span_id"]: one for one in entries if one["span_id"] and one["event_id"].endswith(".end")}
    found = server.get(f"/runs/{run_id}/previews", ids=",".join([*ended, "0" * 16]))["data"]
    assert {one["id"] for one in found} == set(ended)
    for one in found:
        entry = ended[one["id"]]
        assert (one["input"], one["output"]) == (entry["input"], entry["output"])
    refused = [{"ids": ",".join(["0" * 16] * 201)}, {"ids": f"{'0' * 16}.x"}, {}]
    for wrong in refused:
        assert server.api.get(f"/api/v1/runs/{run_id}/previews", params=wrong).status_code == 400


def test_a_conversation_can_be_told_of_the_first_calls_alone(
    server: Server, runs: list[dict[str, Any]]
) -> None:
    run = max(runs, key=lambda run: run["counts"]["llm_calls"])
    path = f"/runs/{run['run_id']}/messages"
    few, whole = server.get(path, calls=2), server.get(path)
    assert (few["meta"]["calls_read"], few["meta"]["calls"]) == (2, whole["meta"]["calls"])
    assert few["data"] == whole["data"][: len(few["data"])]


def test_the_status_tells_of_spans_that_no_convention_knew(server: Server) -> None:
    span = {
        "traceId": "ab" * 16,
        "spanId": "cd" * 8,
        "name": "GET /",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
    }
    scoped = {"scope": {"name": "somebody.else"}, "spans": [span]}
    sent = {"resourceSpans": [{"scopeSpans": [scoped]}]}
    assert httpx.post(f"{server.endpoints['http']}/v1/traces", json=sent).status_code == 200
    server.settled()
    assert server.get("/status")["mappers"]["unmapped"]["somebody.else"] >= 1


def test_what_is_masked_can_be_read(server: Server) -> None:
    rules = {"mask": [], "capture_input": True, "capture_output": True}
    assert server.get("/db/redaction") == {**rules, "projects": {}}


def test_a_subtree_begins_at_its_span(server: Server, runs: list[dict[str, Any]]) -> None:
    run_id = max(runs, key=lambda run: run["counts"]["spans"])["run_id"]
    columns = server.get(f"/runs/{run_id}/tree")["data"]
    place = next(place for place, below in enumerate(columns["below"]) if place and below)
    subtree = server.get(f"/runs/{run_id}/tree", subtree=columns["id"][place], collapse_repeats=0)
    assert subtree["data"]["id"][0] == columns["id"][place]
    assert subtree["meta"]["total"] == columns["below"][place] + 1
    assert server.api.get(f"/api/v1/runs/{run_id}/tree", params={"subtree": "0" * 16}).status_code == 404


def test_the_beginning_of_a_tree_is_that_of_the_whole(server: Server, runs: list[dict[str, Any]]) -> None:
    path = f"/runs/{max(runs, key=lambda run: run['counts']['spans'])['run_id']}/tree"
    whole = server.get(path, collapse_repeats=0)
    total, columns = whole["meta"]["total"], whole["data"]
    times = dict(zip(columns["id"], columns["start_us"], strict=True))
    first = sorted(times, key=lambda one: (times[one], one))[:3]
    begun = server.get(path, collapse_repeats=0, earliest=3)
    assert sorted(begun["data"]["id"]) == sorted(first)
    assert (begun["meta"]["total"], begun["meta"]["truncated"]) == (3, True)
    assert server.get(path, collapse_repeats=0, earliest=total) == whole
    refused = server.api.get(f"/api/v1{path}", params={"earliest": 3, "subtree": first[0]})
    assert refused.status_code == 400


def test_a_graph_counts_what_the_run_counts(server: Server, runs: list[dict[str, Any]]) -> None:
    for run in runs:
        found = server.get(f"/runs/{run['run_id']}/graph")
        vertices = {vertex["id"]: vertex for vertex in found["nodes"]}
        assert {edge[end] for edge in found["edges"] for end in ("source", "target")} <= set(vertices)

        def total(kind: str, vertices: dict[str, Any] = vertices) -> int:
            return sum(vertex["count"] for vertex in vertices.values() if vertex["type"] == kind)

        counts = run["counts"]
        assert total("model") == counts["llm_calls"] + counts["embeddings"]
        assert total("tool") == counts["tool_calls"]
        assert (
            sum(edge["count"] for edge in found["edges"] if edge["type"] == "handoff") == counts["handoffs"]
        )
        assert {vertex["name"] for vertex in vertices.values() if vertex["type"] == "tool"} == set(
            run["tools"]
        )
        assert {vertex["name"] for vertex in vertices.values() if vertex["type"] == "agent"} >= set(
            run["agents"]
        )


# --------------------------------------------------------------------------- the timeline in pages


def longest(runs: list[dict[str, Any]]) -> str:
    run_id: str = max(runs, key=lambda run: run["counts"]["spans"])["run_id"]
    return run_id


def test_a_timeline_comes_in_pages_that_make_the_whole(server: Server, runs: list[dict[str, Any]]) -> None:
    path = f"/runs/{longest(runs)}/events"
    whole = server.get(path)["data"]
    assert [event["seq"] for event in whole] == list(range(1, len(whole) + 1))
    paged: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.get(path, limit=5, fields="io", **cursor)
        paged += page["data"]
        assert page["meta"]["count"] == len(whole)
        if page["page"]["next_cursor"] is None:
            break
        cursor = {"cursor": page["page"]["next_cursor"]}
    assert [event["event_id"] for event in paged] == [event["event_id"] for event in whole]
    assert server.get(path, since_seq=7)["data"] == whole[7:]


def test_entries_are_chosen_by_type_and_by_what_is_around_them(
    server: Server, runs: list[dict[str, Any]]
) -> None:
    path = f"/runs/{longest(runs)}/events"
    whole = server.get(path)["data"]
    tools = server.get(path, type="tool_call_completed,tool_call_failed")["data"]
    assert tools == [event for event in whole if event["type"] in ("tool_call_completed", "tool_call_failed")]
    assert tools
    middle = whole[len(whole) // 2]
    assert (
        server.get(path, around=middle["event_id"], limit=5)["data"]
        == whole[middle["seq"] - 3 : middle["seq"] + 2]
    )
    around_tool = server.get(path, around=middle["event_id"], type="tool_call_completed", limit=2)["data"]
    assert {event["type"] for event in around_tool} == {"tool_call_completed"}
    first = server.get(path, around=whole[0]["event_id"], limit=4)["data"]
    assert first == whole[:4]


def test_a_timeline_comes_in_lines(server: Server, runs: list[dict[str, Any]]) -> None:
    path = f"/api/v1/runs/{longest(runs)}/events"
    lines = server.api.get(path, params={"limit": 5}, headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    document = server.api.get(path, params={"limit": 5}).json()
    assert [json.loads(line) for line in lines.text.splitlines()] == document["data"]
    assert lines.headers["x-next-cursor"] == document["page"]["next_cursor"]


@pytest.mark.parametrize(
    ("parameters", "status", "says"),
    [
        ({"type": "tool_call"}, 400, "type"),
        ({"around": "nothing"}, 404, "nothing"),
        ({"around": "x", "since_seq": "1"}, 400, "around"),
        ({"cursor": "x"}, 400, "cursor"),
        ({"limit": "10001"}, 400, "limit"),
        ({"since_seq": "-1"}, 400, "since_seq"),
    ],
)
def test_what_can_not_be_shown_of_a_timeline_says_why(
    server: Server, runs: list[dict[str, Any]], parameters: dict[str, str], status: int, says: str
) -> None:
    answer = server.api.get(f"/api/v1/runs/{longest(runs)}/events", params=parameters)
    assert answer.status_code == status
    assert says in answer.json()["detail"]
