"""What programs do with their SDKs, each as a function of the base URLs that lead to a provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

HELLO: Any = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

Bases = dict[str, str]
Calls = dict[str, Callable[[Bases], Any]]


def _openai(bases: Bases, **more: Any) -> Any:
    import openai

    return openai.OpenAI(base_url=bases["openai"], api_key="sk-test", **more)


def openai_chat(bases: Bases) -> Any:
    return (
        _openai(bases)
        .chat.completions.create(model="gpt-4o-mini", messages=HELLO, tools=[WEATHER])
        .model_dump()
    )


def openai_stream(bases: Bases) -> Any:
    stream = _openai(bases).chat.completions.create(
        model="gpt-4o-mini", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    return [chunk.model_dump() for chunk in stream]


def openai_async_stream(bases: Bases) -> Any:
    import openai

    async def run() -> Any:
        async with openai.AsyncOpenAI(base_url=bases["openai"], api_key="sk-test") as client:
            stream = await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True)
            return [chunk.model_dump() async for chunk in stream]

    return asyncio.run(run())


def openai_responses(bases: Bases) -> Any:
    return _openai(bases).responses.create(model="gpt-4o-mini", input="hello").model_dump()


def openai_responses_stream(bases: Bases) -> Any:
    return [
        event.model_dump() for event in _openai(bases).responses.create(model="m", input="hello", stream=True)
    ]


def openai_embeddings(bases: Bases) -> Any:
    return _openai(bases).embeddings.create(model="e", input=["a", "b"]).model_dump()


def openai_completions(bases: Bases) -> Any:
    return _openai(bases).completions.create(model="m", prompt="hello").model_dump()


def openai_raw_headers(bases: Bases) -> Any:
    raw = _openai(bases).chat.completions.with_raw_response.create(model="m", messages=HELLO)
    return raw.status_code, raw.headers["content-type"], raw.parse().model_dump()


def openai_models(bases: Bases) -> Any:
    return [model.id for model in _openai(bases).models.list()]


def openai_hangs_up(bases: Bases) -> Any:
    with _openai(bases).chat.completions.create(model="m", messages=HELLO, stream=True) as stream:
        return next(iter(stream)).model_dump()


def _anthropic(bases: Bases) -> Any:
    import anthropic

    return anthropic.Anthropic(base_url=bases["anthropic"], api_key="sk-ant-test")


def anthropic_create(bases: Bases) -> Any:
    return _anthropic(bases).messages.create(model="claude", max_tokens=9, messages=HELLO).model_dump()


def anthropic_stream(bases: Bases) -> Any:
    with _anthropic(bases).messages.stream(model="claude", max_tokens=9, messages=HELLO) as stream:
        return [event.model_dump() for event in stream]


def anthropic_count(bases: Bases) -> Any:
    return _anthropic(bases).messages.count_tokens(model="claude", messages=HELLO).model_dump()


def _gemini(bases: Bases) -> Any:
    from google import genai

    return genai.Client(api_key="AIza-test", http_options={"base_url": bases["gemini"]})


def gemini_generate(bases: Bases) -> Any:
    client = _gemini(bases)
    answer = client.models.generate_content(model="gemini-2.5-flash", contents="hello")
    return answer.model_dump(mode="json", exclude={"sdk_http_response"})


def gemini_stream(bases: Bases) -> Any:
    client = _gemini(bases)
    stream = client.models.generate_content_stream(model="gemini-2.5-flash", contents="hello")
    return [chunk.model_dump(mode="json", exclude={"sdk_http_response"}) for chunk in stream]


def ollama_chat(bases: Bases) -> Any:
    import ollama

    return ollama.Client(host=bases["ollama"]).chat(model="llama3.2", messages=HELLO).model_dump()


def ollama_stream(bases: Bases) -> Any:
    import ollama

    return [
        line.model_dump()
        for line in ollama.Client(host=bases["ollama"]).chat(model="llama3.2", messages=HELLO, stream=True)
    ]


def langchain_invoke(bases: Bases) -> Any:
    from langchain_openai import ChatOpenAI

    return (
        ChatOpenAI(model="gpt-4o-mini", base_url=bases["openai"], api_key="sk-test").invoke("hello").content
    )


def langchain_stream(bases: Bases) -> Any:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-4o-mini", base_url=bases["openai"], api_key="sk-test")
    return [chunk.content for chunk in model.stream("hello")]


def litellm_openai(bases: Bases) -> Any:
    import litellm

    answer = litellm.completion("openai/gpt-4o-mini", HELLO, api_base=bases["openai"], api_key="sk-test")
    return answer.choices[0].message.content, answer.usage.prompt_tokens


def litellm_anthropic(bases: Bases) -> Any:
    import litellm

    answer = litellm.completion(
        "anthropic/claude-sonnet-4-6", HELLO, api_base=bases["anthropic"], api_key="sk-test", stream=True
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer)


def mistral_chat(bases: Bases) -> Any:
    from mistralai.client import Mistral

    client = Mistral(api_key="test", server_url=bases["openai"].removesuffix("/v1"))
    return client.chat.complete(model="mistral-small", messages=HELLO).choices[0].message.content


CALLS: Calls = {
    name: function
    for name, function in list(globals().items())
    if name.startswith(("openai_", "anthropic_", "gemini_", "ollama_", "langchain_", "litellm_", "mistral_"))
}
