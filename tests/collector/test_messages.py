"""Conversations of captured runs, asked of a real collector."""

from __future__ import annotations

from typing import Any

import pytest

from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

PROJECT = "messages"
SCENARIOS = (
    "openinference/openai-agents/",
    "openinference/langchain/",
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
    found: list[dict[str, Any]] = server.get(f"/runs/{run['run_id']}/messages", **how)["data"]
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
