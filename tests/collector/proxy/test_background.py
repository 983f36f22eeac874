"""Responses that are made in the background: the call has the answer that is fetched later."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.collector.proxy import sdks
from tests.collector.proxy.collected import Collected, attributes, said
from tests.collector.proxy.running import RunningProxy
from tests.provider import Answer, Provider, response
from tests.waiting import until

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


def test_fetching_what_nobody_waits_for_is_no_call(
    proxy: RunningProxy, provider: Provider, collected: Collected
) -> None:
    provider.script.append(Answer.json(response({}) | {"id": "resp_x"}))
    httpx.get(f"{proxy.url}/openai/v1/responses/resp_x")
    httpx.post(f"{proxy.url}/openai/v1/responses", json={"model": "m", "input": "x"})
    collected.wait(1, "chat")
    assert len(collected.named("chat")) == 1
