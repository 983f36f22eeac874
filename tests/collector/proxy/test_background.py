"""Responses that are made in the background: the call has the answer that is fetched later."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.collector.proxy import sdks
from tests.collector.proxy.collected import Collected, attributes, said
from tests.collector.proxy.running import RunningProxy
from tests.provider import RESPONSES_USAGE, Answer, Provider, response
from tests.waiting import until

OUTPUT = "gen_ai.usage.output_tokens"
ASKED: dict[str, Any] = {"model": "gpt-5", "input": "think", "background": True}


@pytest.fixture
def collected(proxy: RunningProxy) -> Collected:
    proxy.collected.clear()
    return proxy.collected


def queued(id_: str, status: str = "queued") -> dict[str, Any]:
    return {
        "id": id_,
        "object": "response",
        "status": status,
        "background": True,
        "model": "gpt-5",
        "output": [],
    }


def test_a_call_gets_the_answer_that_is_fetched_later(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    client = sdks.openai.OpenAI(base_url=f"{proxy.url}/openai/v1", api_key="k")
    whole = response({}) | {"id": "resp_bg", "background": True}
    provider.script += [
        Answer.json(queued("resp_bg")),
        Answer.json(queued("resp_bg", "in_progress")),
        Answer.json(whole),
        Answer.json(whole),
    ]
    assert client.responses.create(**ASKED).status == "queued"
    (span,) = collected.wait(1, "chat")
    assert "gen_ai.usage.output_tokens" not in attributes(span)
    while client.responses.retrieve("resp_bg").status != "completed":
        pass
    until(lambda: "gen_ai.usage.output_tokens" in attributes(collected.named("chat")[0]))
    (again,) = collected.named("chat")
    assert again.span_id == span.span_id
    assert again.end_ns > span.end_ns
    found = attributes(again)
    assert found["gen_ai.response.id"] == "resp_bg"
    assert found["gen_ai.response.finish_reasons"] == ["stop"]
    assert said(again)[0]["parts"]
    assert said(again, "gen_ai.input.messages")[0]["parts"][0]["content"] == "think"
    client.responses.retrieve("resp_bg")  # once more changes nothing
    (run,) = collected.runs().values()
    assert run.run.counts.llm_calls == 1


def test_an_answer_that_is_fetched_at_once_is_the_call_s(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    provider.script += [Answer.json(queued("resp_now")), Answer.json(response({}) | {"id": "resp_now"})]
    base = f"{proxy.url}/openai/v1/responses"
    with httpx.Client() as client:  # before the call's beginning was even read
        client.post(base, json=ASKED)
        client.get(f"{base}/resp_now")
    used = RESPONSES_USAGE["output_tokens"]
    until(lambda: [attributes(one).get(OUTPUT) for one in collected.named("chat")] == [used])


def test_a_call_that_is_cancelled_has_ended_and_cancelling_is_no_call(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    provider.script += [Answer.json(queued("resp_c")), Answer.json(queued("resp_c", "cancelled"))]
    base = f"{proxy.url}/openai/v1/responses"
    httpx.post(base, json=ASKED)
    httpx.post(f"{base}/resp_c/cancel")
    reasons = "gen_ai.response.finish_reasons"
    until(lambda: [attributes(span).get(reasons) for span in collected.named("chat")] == [["error"]])
    assert collected.named("POST") == []


def test_an_agent_s_interaction_gets_its_end_later(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    begun = {"id": "v1_x", "object": "interaction", "status": "in_progress", "agent": "deep-research"}
    text = [{"type": "text", "text": "found"}]
    ended = begun | {
        "status": "completed",
        "steps": [{"type": "model_output", "content": text}],
        "usage": {"total_input_tokens": 7, "total_output_tokens": 5, "total_tokens": 12},
    }
    provider.script += [Answer.json(begun), Answer.json(begun), Answer.json(ended)]
    base = f"{proxy.url}/gemini/v1beta/interactions"
    httpx.post(base, json={"agent": "deep-research", "input": "look", "background": True})
    for _ in range(2):
        httpx.get(f"{base}/v1_x")
    collected.wait(1, "generate_content")
    until(lambda: "gen_ai.usage.output_tokens" in attributes(collected.named("generate_content")[0]))
    (span,) = collected.named("generate_content")
    assert attributes(span)["gen_ai.request.model"] == "deep-research"
    assert said(span)[0]["parts"] == [{"type": "text", "content": "found"}]


def test_fetching_what_nobody_waits_for_is_no_call(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    provider.script.append(Answer.json(response({}) | {"id": "resp_x"}))
    httpx.get(f"{proxy.url}/openai/v1/responses/resp_x")
    httpx.post(f"{proxy.url}/openai/v1/responses", json={"model": "m", "input": "x"})
    collected.wait(1, "chat")
    assert len(collected.named("chat")) == 1
