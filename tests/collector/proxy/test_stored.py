"""Through a real collector: SDKs call a provider, and the API has their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.collector.proxy import sdks
from tests.provider import TEXT, Answer, Provider, call, chat, chat_stream, message, messages_stream
from tests.server import Server
from tests.waiting import until


def base(server: Server, provider: Provider) -> str:
    return f"{server.endpoints['proxy']}/openai/http/127.0.0.1:{provider.port}"


def run_of(server: Server, project: str, **expected: int) -> dict[str, Any]:
    """The project's only run, once its counts are these."""
    runs: list[dict[str, Any]] = []

    def stored() -> bool:
        runs[:] = server.runs(project=project)
        return len(runs) == 1 and expected.items() <= runs[0]["counts"].items()

    until(stored, lambda: runs)
    return runs[0]


def test_a_tool_loop_of_openais_sdk_is_a_run(server: Server, provider: Provider) -> None:
    client = sdks.openai.OpenAI(
        base_url=f"{base(server, provider)}/v1",
        api_key="k",
        default_headers={"X-Loop-Project": "proxy-openai"},
    )
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    messages: list[Any] = [{"role": "user", "content": "weather?"}]
    made = {
        "id": "call_s1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
    }
    provider.script.append(
        Answer.sse(list(chat_stream({"stream_options": {"include_usage": True}}, calls=[made], id_="s1")))
    )
    arguments = ""
    for chunk in client.chat.completions.create(
        model="gpt-4o-mini",
        messages=messages,
        tools=[tool],
        stream=True,
        stream_options={"include_usage": True},
    ):
        for choice in chunk.choices:
            for part in choice.delta.tool_calls or []:
                arguments += part.function.arguments or ""
    assert arguments == '{"city":"Paris"}'
    messages += [
        {"role": "assistant", "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "call_s1", "content": "sun"},
    ]
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
    assert answer.choices[0].message.content == TEXT
    run = run_of(server, "proxy-openai", llm_calls=2, tool_calls=1)
    assert (run["status"], run["tools"], run["models"]) == (
        "completed",
        ["get_weather"],
        ["gpt-4o-mini-2024-07-18"],
    )
    assert run["usage"] == {
        "input": 38, "output": 20, "total": 58, "cache_read": 8, "cache_write": None, "reasoning": 6, "embedding": None,
    }  # fmt: skip
    events = server.get(f"/runs/{run['run_id']}/events", fields="io")["data"]
    tools = [event for event in events if event["type"] == "tool_call_completed"]
    assert [(event["tool_call_id"], event["output"]) for event in tools] == [("call_s1", "sun")]
    calls = [event for event in events if event["type"] == "llm_call_completed"]
    assert [event["provider"] for event in calls] == ["local", "local"]
    assert calls[0]["ttft_ms"] is not None


def test_anthropics_sdk_with_a_retry_is_a_run(server: Server, provider: Provider) -> None:
    client = sdks.anthropic.Anthropic(
        base_url=base(server, provider), api_key="k", default_headers={"X-Loop-Project": "proxy-anthropic"}
    )
    provider.script.append(
        Answer.json(
            {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, 529, retry_after="0.01"
        )
    )
    said = client.messages.create(
        model="claude-sonnet-4-6", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    )
    with client.messages.stream(
        model="claude-sonnet-4-6",
        max_tokens=9,
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": said.content},
            {"role": "user", "content": "more"},
        ],
    ) as stream:
        assert stream.get_final_text() == TEXT
    run = run_of(server, "proxy-anthropic", llm_calls=3)
    assert (run["counts"]["llm_errors"], run["counts"]["retries"], run["status"]) == (1, 1, "completed")
    assert (run["usage"]["input"], run["usage"]["output"]) == (42, 22)


def test_claude_at_vertex_is_told_from_the_counting_of_its_tokens(server: Server, provider: Provider) -> None:
    """With Anthropic's SDK, which counts as if that were a model's answer."""
    client = sdks.anthropic.AnthropicVertex(
        region="us-east5",
        project_id="p",
        access_token="t",
        base_url=f"{base(server, provider)}/v1",
        default_headers={"X-Loop-Project": "proxy-vertex", "X-Loop-TraceID": "vertex"},
    )
    provider.script += [
        Answer.json({"input_tokens": 14}),
        Answer.json(message({})),
        Answer.sse(list(messages_stream({}))),
    ]
    asked: Any = {"model": "claude-sonnet-4-5@20250929", "messages": [{"role": "user", "content": "hello"}]}
    assert client.messages.count_tokens(**asked).input_tokens == 14
    client.messages.create(**asked, max_tokens=5)
    with client.messages.stream(**asked, max_tokens=5) as stream:
        assert stream.get_final_text() == TEXT
    run = run_of(server, "proxy-vertex", llm_calls=2)
    assert (run["usage"]["input"], run["usage"]["output"]) == (42, 22)


def test_a_loop_in_traffic_is_warned_of_and_no_secret_is_stored(server: Server, provider: Provider) -> None:
    secret = "sk-proj-" + "a1B2" * 12
    history: list[Any] = [{"role": "user", "content": f"my key is {secret}"}]
    headers = {"x-loop-project": "proxy-loop", "authorization": f"Bearer {secret}"}
    for number in range(7):
        made = call(f"loop_{number}", "get_order", '{"id": 7}')
        document = chat({}, calls=[made], id_=f"loop-{number}")
        provider.script.append(Answer.json(document))
        body = {"model": "gpt-4o-mini", "messages": history}
        httpx.post(f"{base(server, provider)}/v1/chat/completions", json=body, headers=headers)
        result = {"role": "tool", "tool_call_id": f"loop_{number}", "content": "pending"}
        history += [document["choices"][0]["message"], result]
    httpx.post(
        f"{base(server, provider)}/v1/chat/completions",
        json={"model": "m", "messages": history},
        headers=headers,
    )
    run = run_of(server, "proxy-loop", llm_calls=8, tool_calls=7, warnings=1)
    (warning,) = server.get(f"/runs/{run['run_id']}/warnings")["data"]
    assert (warning["type"], warning["count"]) == ("exact_repeat", 7)
    answers = [server.get(f"/runs/{run['run_id']}/{part}") for part in ("spans", "warnings")]
    answers.append(server.get(f"/runs/{run['run_id']}/events", fields="io"))
    assert secret not in str([run, *answers])
    assert str(run["input"]).startswith("my key is")


def test_errors_reach_the_sdk_as_from_the_provider(server: Server, provider: Provider) -> None:
    client = sdks.openai.OpenAI(base_url=f"{base(server, provider)}/v1", api_key="k", max_retries=0)
    provider.script.append(Answer.json({"error": {"message": "bad", "type": "invalid_request_error"}}, 400))
    with pytest.raises(sdks.openai.BadRequestError, match="bad"):
        client.chat.completions.create(model="m", messages=[])


def test_the_status_says_what_was_relayed(server: Server, provider: Provider) -> None:
    httpx.post(
        f"{base(server, provider)}/v1/chat/completions",
        json={"model": "m"},
        headers={"x-loop-project": "proxy-x"},
    )
    document = server.get("/status")["proxy"]
    assert document["requests"]["local"] >= 1
    assert document["recorder"]["failed"] == 0


def test_a_call_under_way_when_the_collector_ends_is_stored(data_dir: Path, provider: Provider) -> None:
    server = Server(data_dir).start()
    pieces = [
        piece for one in chat_stream({"stream_options": {"include_usage": True}}) for piece in (one, 0.05)
    ]
    provider.script.append(Answer.sse(pieces))
    url = f"{base(server, provider)}/v1/chat/completions"
    with httpx.stream(
        "POST", url, json={"model": "m", "stream": True}, headers={"x-loop-project": "late"}
    ) as answer:
        stream = answer.iter_raw()
        first = next(stream)
        server.process.terminate()
        assert sum(piece.count(b"data:") for piece in (first, *stream)) == len(pieces) // 2
    assert server.process.wait(30) == 0
    again = Server(data_dir).start()
    run = run_of(again, "late", llm_calls=1)
    assert run["usage"]["output"] == 10
    assert again.stop() == 0
