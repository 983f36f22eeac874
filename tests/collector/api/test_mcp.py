"""Assistants: the real client of the Model Context Protocol, over HTTP and over standard input and output."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from collector.demo import captured
from collector.doors.keys import Keys, Scope, keys_file
from collector.mcp.tools import MOST_ROWS, TOOLS
from tests.sending import http_protobuf
from tests.server import TOKEN, Server

PROJECT = "assistants"


@pytest.fixture(scope="module")
def run_id(server: Server) -> str:
    run_id, body = captured()
    http_protobuf(server, body, PROJECT)
    server.settled()
    return run_id


@pytest.fixture(scope="module")
def secrets(server: Server) -> Iterator[dict[str, str]]:
    keys = Keys(keys_file(server.data_dir))
    made = {
        "reader": keys.create("reader", [Scope.READ], project=PROJECT),
        "other": keys.create("other", [Scope.CONTENT], project="other"),
        "ingest": keys.create("ingest", [Scope.INGEST]),
    }
    time.sleep(1.1)  # until the collector looks at the file again
    yield {who: secret for who, (_, secret) in made.items()}
    for key, _ in made.values():
        keys.revoke(key.id)


def over_http(server: Server, token: str = TOKEN) -> Any:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    # The first question waits for the library to be loaded, on a busy machine for longer than the client's usual 5 s.
    client = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30)
    return streamable_http_client(server.endpoints["api"] + "/mcp", http_client=client)


def over_stdio(server: Server, token: str = TOKEN) -> Any:
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    arguments = ["-m", "collector.cli", "mcp", "--url", server.endpoints["api"], "--token", token]
    return stdio_client(StdioServerParameters(command=sys.executable, args=arguments))


def asked(transport: Any, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Answers of these tools; of one that refuses, its text."""
    from mcp import Client

    async def ask() -> list[Any]:
        async with Client(transport) as client:
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == {tool.name for tool in TOOLS}
            assert all(tool.annotations.read_only_hint for tool in tools)
            answers = []
            for name, arguments in calls:
                result = await client.call_tool(name, arguments)
                text = result.content[0].text
                answers.append(text if result.is_error else json.loads(text))
            return answers

    return asyncio.run(ask())


@pytest.mark.parametrize("transport", [over_http, over_stdio])
def test_an_assistant_finds_out_what_is_wrong_step_by_step(
    server: Server, run_id: str, transport: Callable[[Server], Any]
) -> None:
    listed, diagnosed, course = asked(
        transport(server),
        ("list_runs", {"q": f"project:{PROJECT}", "limit": 5}),
        ("diagnose_run", {"run_id": run_id}),
        ("get_run", {"run_id": run_id, "limit": 200}),
    )
    assert run_id in {run["run_id"] for run in listed["runs"]}
    (leading,) = (one for one in diagnosed["warnings"] if one["type"] == "exact_repeat")
    assert leading["count"] == 6
    assert leading["suggestion"]
    tool = next(one for one in course["events"] if one["type"] == "tool_call_completed")
    event, wrong = asked(
        transport(server),
        ("get_event", {"run_id": run_id, "event_id": tool["event_id"], "max_chars": 10}),
        ("get_run", {"run_id": "0" * 32}),
    )
    assert event["input"] == "Paris"
    assert "truncated: 4 more" in event["output"]
    assert "There is no run" in wrong


def test_every_tool_answers_shortly(server: Server, run_id: str) -> None:
    spans = server.get(f"/runs/{run_id}/spans")["data"]
    answers = asked(
        over_http(server),
        ("list_warnings", {"type": "exact_repeat", "limit": 3}),
        ("search", {"text": "cloudy", "limit": 2}),
        ("compare_runs", {"a": run_id, "b": run_id}),
        ("aggregates", {"metrics": "runs,llm_calls,cost_usd", "by": "model", "q": f"project:{PROJECT}"}),
        ("explain_mapping", {"run_id": run_id, "span_id": spans[0]["span_id"]}),
        ("get_run", {"run_id": run_id, "limit": 3}),
        ("get_conversation", {"run_id": run_id, "limit": 3, "max_chars": 20}),
    )
    warnings, found, compared, sums, mapping, course, said = answers
    assert {one["type"] for one in warnings["warnings"]} == {"exact_repeat"}
    assert found["runs"]
    assert compared["differences"] == {}
    assert (compared["first_divergence"], compared["steps"]["alike"]) == (None, 13)
    (first, *_), texts = (
        said["messages"],
        [part["text"] for m in said["messages"] for part in m["parts"] if "text" in part],
    )
    assert first["direction"] == "input"
    assert max(map(len, texts)) == 20
    assert (len(said["messages"]), said["truncated"], said["not_read"]) == (3, True, False)
    assert sum(row["values"]["llm_calls"] for row in sums["rows"]) == 7
    assert mapping["conventions"]
    assert (len(course["events"]), course["truncated"]) == (3, True)
    (rest,) = asked(over_http(server), ("get_run", {"run_id": run_id, "cursor": course["next_cursor"]}))
    assert not {one["event_id"] for one in rest["events"]} & {one["event_id"] for one in course["events"]}
    assert all(len(json.dumps(answer)) < 20_000 for answer in answers)


def test_what_is_asked_wrongly_says_so(server: Server) -> None:
    answers = asked(
        over_http(server),
        ("list_runs", {"q": "modle:x"}),
        ("list_runs", {"limit": MOST_ROWS + 5000}),
        ("list_runs", {"what": 1}),
        ("diagnose_run", {}),
        ("drop_tables", {}),
        ("aggregates", {"metrics": "costs"}),
    )
    expected = ("modle", "limit", "what", "run_id", "drop_tables", "cost_usd")
    for answer, says in zip(answers, expected, strict=True):
        assert says in answer


def test_an_assistant_sees_what_its_key_may(server: Server, run_id: str, secrets: dict[str, str]) -> None:
    event_id = server.get(f"/runs/{run_id}/events")["data"][2]["event_id"]
    calls = (
        ("diagnose_run", {"run_id": run_id}),
        ("get_event", {"run_id": run_id, "event_id": event_id}),
        ("search", {"text": "Paris"}),
        ("list_runs", {}),
    )
    run, event, found, _ = asked(over_http(server, secrets["reader"]), *calls)
    assert run["run_id"] == run_id
    assert "may not read inputs" in event
    assert "may not read inputs" in found
    run, event, found, listed = asked(over_http(server, secrets["other"]), *calls)
    assert "There is no run" in run
    assert "There is no run" in event
    assert (found["runs"], listed["runs"]) == ([], [])


def test_without_a_key_nothing_is_answered(server: Server, secrets: dict[str, str]) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for headers, status in (({}, 401), ({"Authorization": f"Bearer {secrets['ingest']}"}, 403)):
        response = httpx.post(server.endpoints["api"] + "/mcp", json=body, headers=headers)
        assert response.status_code == status
