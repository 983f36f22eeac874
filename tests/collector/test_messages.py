"""Conversations of captured runs, asked of a real collector."""

from __future__ import annotations

import collections
import functools
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests import conftest
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

server = conftest.alone

PROJECT = "messages"
SCENARIOS = (
    "openinference/openai-agents/",
    "openinference/langchain/handoff",
    "openinference/langchain/tools",
    "gen_ai/pydantic-ai-v5/",
    "gen_ai/openai-v2-events/",
    "gen_ai/genai-openai-event/",
)


@pytest.fixture(scope="module")
def runs(server: Server) -> list[dict[str, Any]]:
    """Runs of agents in several conventions; in some, messages are log records of their own."""
    for scenario in select(*SCENARIOS):
        for file in scenario.traces:
            http_protobuf(server, renamed(file.read_bytes(), 44), PROJECT)
        for file in scenario.logs:
            http_protobuf(server, renamed(file.read_bytes(), 44, "logs"), PROJECT, "logs")
    server.settled()
    return server.runs(project=PROJECT)


def conversation(server: Server, run: dict[str, Any], **how: Any) -> list[dict[str, Any]]:
    return _conversation(server, run["run_id"], **how)


@functools.cache
def _conversation(server: Server, run_id: str, **how: Any) -> list[dict[str, Any]]:
    """Asked for once: a question costs the engine 50 ms, and most tests look at all runs."""
    found: list[dict[str, Any]] = server.get(f"/runs/{run_id}/messages", **how)["data"]
    return found


def test_a_conversation_tells_each_message_once(server: Server, runs: list[dict[str, Any]]) -> None:
    talking = [run for run in runs if run["counts"]["llm_calls"] > 1]
    assert len(talking) > 10
    for run in talking:
        messages = conversation(server, run)
        events = {event["event_id"]: event for event in server.get(f"/runs/{run['run_id']}/events")["data"]}
        assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
        assert all(message["new"] for message in messages)
        for message in messages:
            event = events[message["event_id"]]
            assert event["type"].startswith("llm_call_")
            assert event["time"] == message["time"]
            assert (message["direction"] == "output") == message["event_id"].endswith(".end")
        # What a call wrote is not told again by the calls that read it.
        for one in messages:
            if one["direction"] == "input" and one["role"] == "assistant":
                said = [part for part in one["parts"] if part["type"] == "tool_call"]
                assert all(part.get("name", "").startswith("transfer_") for part in said), run["name"]


def test_calls_and_results_of_tools_belong_together(server: Server, runs: list[dict[str, Any]]) -> None:
    checked = 0
    for run in runs:
        parts = [part for message in conversation(server, run) for part in message["parts"]]
        asked = {part["id"] for part in parts if part["type"] == "tool_call" and part["id"]}
        given = {part["id"] for part in parts if part["type"] == "tool_result" and part["id"]}
        if asked and given:
            assert given <= asked, run["name"]
            checked += 1
    assert checked > 5


def test_messages_that_came_as_log_records_are_told_too(server: Server, runs: list[dict[str, Any]]) -> None:
    logged = [run for run in server.runs(project=PROJECT, q="name:chat*") if run["counts"]["llm_calls"] == 1]
    assert logged
    for run in logged:
        messages = conversation(server, run)
        assert [message["role"] for message in messages][-1] == "assistant" or run["status"] == "failed"
        assert "user" in [message["role"] for message in messages]


def test_the_full_view_tells_everything_call_by_call(server: Server, runs: list[dict[str, Any]]) -> None:
    run = max(runs, key=lambda run: run["counts"]["llm_calls"])
    full = conversation(server, run, view="full", limit=1000)
    assert [{**m, "seq": 0} for m in full if m["new"]] == [{**m, "seq": 0} for m in conversation(server, run)]
    assert len(full) > len(conversation(server, run))


def test_a_conversation_can_be_one_agents(server: Server, runs: list[dict[str, Any]]) -> None:
    run = max(runs, key=lambda run: run["counts"]["handoffs"])
    agents = {message["agent"] for message in conversation(server, run)}
    assert len(agents) > 1
    for agent in agents:
        assert {message["agent"] for message in conversation(server, run, agent=agent)} == {agent}
    assert conversation(server, run, agent="nobody") == []


def test_a_conversation_comes_in_pages_and_its_texts_cut(server: Server, runs: list[dict[str, Any]]) -> None:
    run = max(runs, key=lambda run: run["counts"]["llm_calls"])
    whole = conversation(server, run)
    paged: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.get(f"/runs/{run['run_id']}/messages", limit=2, **cursor)
        paged += page["data"]
        if page["page"]["next_cursor"] is None:
            break
        cursor = {"cursor": page["page"]["next_cursor"]}
    assert paged == whole
    (first, *_) = [part for part in whole[0]["parts"] if part["type"] == "text"]
    (cut, *_) = [
        part for part in conversation(server, run, max_chars=3)[0]["parts"] if part["type"] == "text"
    ]
    assert (cut["text"], cut["chars"]) == (first["text"][:3], len(first["text"]))


def test_a_prompt_is_held_against_the_call_before_of_its_agent(
    server: Server, runs: list[dict[str, Any]]
) -> None:
    grown = 0
    alone = [run for run in runs if run["counts"]["llm_calls"] == 1]
    for run in [*(run for run in runs if run["counts"]["llm_calls"] > 1), *alone[:5]]:
        path = f"/runs/{run['run_id']}"
        calls: dict[str, str] = {}
        whole = conversation(server, run, view="full")
        for one in whole:
            calls.setdefault(one["event_id"].rpartition(".")[0], one["agent"])
        for node in calls:
            prompt = server.get(f"{path}/prompts/{node}")
            full = [one for one in whole if one["event_id"].startswith(node)]
            shown = [one for one in prompt["data"] if one["change"] != "removed"]
            assert [one["parts"] for one in shown] == [one["parts"] for one in full]
            meta = prompt["meta"]
            if meta["before"] is None:
                assert not any(one["change"] == "same" for one in prompt["data"])
            else:
                assert calls[meta["before"]["id"]] == calls[node]
                grown += bool(meta["same"] and meta["added"] and not meta["removed"])
    assert grown >= 10
    run_id = runs[0]["run_id"]
    assert server.api.get(f"/api/v1/runs/{run_id}/prompts/{'0' * 16}").status_code == 404


def test_a_text_is_found_in_the_events_that_say_it_first(server: Server, runs: list[dict[str, Any]]) -> None:
    run = max(runs, key=lambda run: run["counts"]["llm_calls"])
    path = f"/runs/{run['run_id']}/find"
    first = next(one for one in conversation(server, run) if one["role"] == "user")
    text = next(part["text"] for part in first["parts"] if part["type"] == "text")
    found = server.get(path, text=text.upper())
    assert found["meta"]["whole"]
    inputs = {one["id"]: one["input"] for one in found["data"]}
    assert inputs[first["event_id"].rpartition(".")[0]] >= 1
    places = sum(one["input"] + one["output"] + one["error"] for one in found["data"])
    assert (found["meta"]["places"], found["meta"]["events"]) == (places, len(found["data"]))
    tool = next(
        one
        for one in server.get(f"/runs/{run['run_id']}/events", fields="io")["data"]
        if one["kind"] == "TOOL" and one["output"]
    )
    by_tool = server.get(path, text=tool["output"])["data"]
    assert tool["span_id"] in [one["id"] for one in by_tool if one["output"]]
    assert server.get(path, text="nobody said this")["data"] == []
    for wrong in ({}, {"text": " "}, {"text": "x" * 1001}):
        assert server.api.get(f"/api/v1{path}", params=wrong).status_code == 400


def test_a_text_is_found_in_a_run_of_very_many_events(server: Server) -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(1, 1_200):
        span = spans.add(trace_id=b"found in so many", span_id=number.to_bytes(8, "big"), name="step")
        span.start_time_unix_nano = 1_790_000_000_000_000_000 + number * 10**6
        span.end_time_unix_nano = span.start_time_unix_nano + 10**6
        said = {
            "openinference.span.kind": "TOOL",
            "tool.name": "look",
            "output.value": f"page {number}: {'Эдди эдди' if number % 500 == 7 else 'nothing'}",
        }
        for key, value in said.items():
            span.attributes.add(key=key).value.string_value = value
    http_protobuf(server, request.SerializeToString(), "found")
    server.settled()
    found = server.get(f"/runs/{b'found in so many'.hex()}/find", text="эдди")
    assert [(one["id"], one["output"]) for one in found["data"]] == [
        (f"{number:016x}", 2) for number in (7, 507, 1007)
    ]
    assert found["meta"] == {"events": 3, "places": 6, "whole": False, "truncated": False}


def test_an_event_told_alone_is_the_one_of_the_timeline(server: Server, runs: list[dict[str, Any]]) -> None:
    seen: collections.Counter[str] = collections.Counter()
    for run in runs[::4]:
        path = f"/runs/{run['run_id']}/events"
        for entry in server.get(path, fields="io")["data"]:
            seen[entry["type"]] += 1
            if seen[entry["type"]] > 3:
                continue
            alone = server.get(f"{path}/{entry['event_id']}", alone="true")
            assert alone.get("seq") in (None, entry["seq"])
            assert {**alone, "seq": entry["seq"]} == entry
    missing = server.api.get(f"/api/v1{path}/{'0' * 16}.end", params={"alone": "true"})
    assert missing.status_code == 404
