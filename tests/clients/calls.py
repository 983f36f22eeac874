"""What programs do with their SDKs, each as a function of the base URLs that lead to a provider."""

from __future__ import annotations

import asyncio
import json
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


def _told(call: Callable[[], Any]) -> Any:
    """What a program sees of a failure."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__, str(getattr(error, "status_code", "")), str(getattr(error, "body", ""))


def openai_error(bases: Bases) -> Any:
    client = _openai(bases, max_retries=0)
    return _told(lambda: client.chat.completions.create(model="no-such-model", messages=HELLO))


def openai_retry(bases: Bases) -> Any:
    return _openai(bases).chat.completions.create(model="busy-at-first", messages=HELLO).model_dump()


def openai_fails_within(bases: Bases) -> Any:
    client = _openai(bases)
    return _told(
        lambda: list(client.chat.completions.create(model="fails-within", messages=HELLO, stream=True))
    )


def openai_breaks_off(bases: Bases) -> Any:
    client = _openai(bases)
    told = _told(
        lambda: list(client.chat.completions.create(model="breaks-off", messages=HELLO, stream=True))
    )
    return told[0]


def openai_tool_loop(bases: Bases) -> Any:
    client = _openai(bases)
    messages = [
        *HELLO,
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": f"call_{n}",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": "{}"},
                }
                for n in (1, 2)
            ],
        },
        *({"role": "tool", "tool_call_id": f"call_{n}", "content": "21 °C"} for n in (1, 2)),
    ]
    asked: Any = {"model": "gpt-4o-mini", "tools": [WEATHER], "parallel_tool_calls": True}
    return client.chat.completions.create(messages=messages, **asked).model_dump()


def openai_async_cancelled(bases: Bases) -> Any:
    import openai

    async def run() -> Any:
        async with openai.AsyncOpenAI(base_url=bases["openai"], api_key="sk-test") as client:
            stream = await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True)
            first = await anext(aiter(stream))
            await stream.close()
            return first.model_dump()

    return asyncio.run(run())


def openai_image(bases: Bases) -> Any:
    return _told(lambda: _openai(bases).images.generate(model="gpt-image-1", prompt="a cat").model_dump())


def openai_speech(bases: Bases) -> Any:
    return _openai(bases).audio.speech.create(model="tts-1", voice="alloy", input="hello").content


def openai_upload(bases: Bases) -> Any:
    made = _openai(bases).audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF" * 9000))
    return made.model_dump()


def openai_at_anthropic(bases: Bases) -> Any:
    import openai

    client = openai.OpenAI(base_url=bases["anthropic"] + "/v1", api_key="sk-ant-test")
    return client.chat.completions.create(model="claude", messages=HELLO).model_dump()


def openai_at_gemini(bases: Bases) -> Any:
    import openai

    client = openai.OpenAI(base_url=bases["gemini"] + "/v1beta/openai", api_key="AIza-test")
    return client.chat.completions.create(model="gemini-2.5-flash", messages=HELLO).model_dump()


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


def anthropic_tools(bases: Bases) -> Any:
    tool = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
    used = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "21 °C"}
    messages: Any = [
        *HELLO,
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [result]},
    ]
    asked: Any = {
        "model": "claude",
        "max_tokens": 2048,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    return _anthropic(bases).messages.create(messages=messages, tools=[tool], **asked).model_dump()


def anthropic_retry(bases: Bases) -> Any:
    client = _anthropic(bases)
    return client.messages.create(model="busy-at-first", max_tokens=9, messages=HELLO).model_dump()


def anthropic_error(bases: Bases) -> Any:
    client = _anthropic(bases)
    return _told(lambda: client.messages.create(model="no-such-model", max_tokens=9, messages=HELLO))


def anthropic_fails_within(bases: Bases) -> Any:
    asked: Any = {"model": "fails-within", "max_tokens": 9, "messages": HELLO, "stream": True}
    client = _anthropic(bases)
    return _told(lambda: list(client.messages.create(**asked)))


def anthropic_hangs_up(bases: Bases) -> Any:
    asked: Any = {"model": "claude", "max_tokens": 9, "messages": HELLO, "stream": True}
    with _anthropic(bases).messages.create(**asked) as stream:
        return next(iter(stream)).model_dump()


def anthropic_async(bases: Bases) -> Any:
    import anthropic

    async def run() -> Any:
        async with anthropic.AsyncAnthropic(base_url=bases["anthropic"], api_key="sk-ant-test") as client:
            return await client.messages.create(model="claude", max_tokens=9, messages=HELLO)

    return asyncio.run(run()).model_dump()


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


def gemini_async(bases: Bases) -> Any:
    async def run() -> Any:
        models = _gemini(bases).aio.models
        return await models.generate_content(model="gemini-2.5-flash", contents="hello")

    return asyncio.run(run()).model_dump(mode="json", exclude={"sdk_http_response"})


def gemini_chat_with_tools(bases: Bases) -> Any:
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return city

    client = _gemini(bases)
    chat = client.chats.create(model="gemini-2.5-flash", config={"tools": [get_weather]})
    return [chat.send_message(text).text for text in ("hello", "again")]


def gemini_old_version(bases: Bases) -> Any:
    from google import genai

    options: Any = {"base_url": bases["gemini"], "api_version": "v1beta"}
    client = genai.Client(api_key="AIza-test", http_options=options)
    return client.models.generate_content(model="gemini-2.5-flash", contents="hello").text


def gemini_interaction(bases: Bases) -> Any:
    client = _gemini(bases)
    found = client.interactions.create(model="gemini-2.5-flash", input="hello")
    return found.model_dump(mode="json", exclude={"sdk_http_response"})


def gemini_interaction_stream(bases: Bases) -> Any:
    client = _gemini(bases)
    stream = client.interactions.create(model="gemini-2.5-flash", input="hello", stream=True)
    return [one.model_dump(mode="json") for one in stream]


def ollama_chat(bases: Bases) -> Any:
    import ollama

    return ollama.Client(host=bases["ollama"]).chat(model="llama3.2", messages=HELLO).model_dump()


def ollama_stream(bases: Bases) -> Any:
    import ollama

    return [
        line.model_dump()
        for line in ollama.Client(host=bases["ollama"]).chat(model="llama3.2", messages=HELLO, stream=True)
    ]


def ollama_tools(bases: Bases) -> Any:
    import ollama

    client = ollama.Client(host=bases["ollama"])
    return client.chat(model="llama3.2", messages=HELLO, tools=[WEATHER]).model_dump()


def langchain_invoke(bases: Bases) -> Any:
    from langchain_openai import ChatOpenAI

    return (
        ChatOpenAI(model="gpt-4o-mini", base_url=bases["openai"], api_key="sk-test").invoke("hello").content
    )


def langchain_stream(bases: Bases) -> Any:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-4o-mini", base_url=bases["openai"], api_key="sk-test")
    return [chunk.content for chunk in model.stream("hello")]


def langchain_tools(bases: Bases) -> Any:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-4o-mini", base_url=bases["openai"], api_key="sk-test")
    return model.bind_tools([WEATHER]).invoke("hello").content


def langchain_retry(bases: Bases) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="busy-at-first", base_url=bases["openai"], api_key="sk-test").invoke("hi").content


def litellm_error(bases: Bases) -> Any:
    import litellm

    asked: Any = {"api_base": bases["openai"], "api_key": "sk-test", "num_retries": 0}
    return _told(lambda: litellm.completion("openai/no-such-model", HELLO, **asked))[:2]


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


def _mistral(bases: Bases) -> Any:
    from mistralai.client import Mistral

    return Mistral(api_key="test", server_url=bases["openai"].removesuffix("/v1"))


def mistral_chat(bases: Bases) -> Any:
    return _mistral(bases).chat.complete(model="mistral-small", messages=HELLO).choices[0].message.content


def mistral_stream(bases: Bases) -> Any:
    stream = _mistral(bases).chat.stream(model="mistral-small", messages=HELLO)
    return [event.data.choices[0].delta.content for event in stream if event.data.choices]


def mistral_fill_in(bases: Bases) -> Any:
    answer = _mistral(bases).fim.complete(model="codestral-latest", prompt="def f(", suffix=")")
    return answer.choices[0].message.content


def mistral_conversation(bases: Bases) -> Any:
    answer = _mistral(bases).beta.conversations.start(model="mistral-medium", inputs="hello")
    return answer.conversation_id, answer.outputs[0].content, answer.usage.total_tokens


def mistral_conversation_stream(bases: Bases) -> Any:
    stream = _mistral(bases).beta.conversations.start_stream(model="mistral-medium", inputs="hello")
    return [(one.event, one.data.model_dump(mode="json")) for one in stream]


def _bedrock(bases: Bases) -> Any:
    """boto3 gives its API key to HTTPS only; so it signs nothing, and the key is added to each request."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    def add_key(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = "Bearer test"

    options: Any = {"region_name": "us-east-1", "config": Config(signature_version=UNSIGNED)}
    client: Any = boto3.client("bedrock-runtime", endpoint_url=bases["bedrock"], **options)
    client.meta.events.register("before-send.bedrock-runtime.*", add_key)
    return client


NOVA: Any = {
    "modelId": "amazon.nova-lite-v1:0",
    "messages": [{"role": "user", "content": [{"text": "hello"}]}],
}
CLAUDE: Any = {
    "modelId": "anthropic.claude-3-haiku-20240307-v1:0",
    "body": json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": HELLO}),
}


def bedrock_converse(bases: Bases) -> Any:
    answer = _bedrock(bases).converse(**NOVA)
    return answer["output"], answer["usage"]


def bedrock_converse_stream(bases: Bases) -> Any:
    return list(_bedrock(bases).converse_stream(**NOVA)["stream"])


def bedrock_invoke(bases: Bases) -> Any:
    return _bedrock(bases).invoke_model(**CLAUDE)["body"].read()


def bedrock_anthropic_stream(bases: Bases) -> Any:
    import anthropic

    client = anthropic.AnthropicBedrock(api_key="test", aws_region="us-east-1", base_url=bases["bedrock"])
    asked: Any = {"model": CLAUDE["modelId"], "max_tokens": 9, "messages": HELLO, "stream": True}
    return [event.model_dump() for event in client.messages.create(**asked)]


def bedrock_invoke_stream(bases: Bases) -> Any:
    return list(_bedrock(bases).invoke_model_with_response_stream(**CLAUDE)["body"])


CALLS: Calls = {
    name: function
    for name, function in list(globals().items())
    if name.partition("_")[0]
    in ("openai", "anthropic", "gemini", "ollama", "langchain", "litellm", "mistral", "bedrock")
}
