"""Those who speak an API that is not theirs, each a little differently: what they say and use is read alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collector.proxy.exchange import Exchange, Outcome, read_exchange
from collector.proxy.formats import format_of
from collector.proxy.tape import Ending
from tests.collector.proxy.tapes import tape
from tests.provider import chat, chat_stream, event, gemini, message, messages_stream, response

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def answered(path: str, document: Any, request: Any = ASKED, **more: Any) -> Exchange:
    return read_exchange(
        tape(path, request, [json.dumps(document).encode()], media_type="application/json", **more)
    )


def streamed(*chunks: Any) -> Exchange:
    pieces = [chunk if isinstance(chunk, bytes) else event(chunk) for chunk in chunks]
    return read_exchange(tape(CHAT, {**ASKED, "stream": True}, [*pieces, event("[DONE]")]))


def delta(**said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said}]}


def counted(exchange: Exchange) -> tuple[int | None, ...]:
    usage = exchange.answered.usage
    return usage.input, usage.output, usage.cache_read, usage.reasoning


USAGES: dict[str, tuple[dict[str, Any], tuple[int | None, ...]]] = {
    "xAI counts reasoning beside the output": (
        {
            "usage": {
                "prompt_tokens": 12,
                "completion_tokens": 1,
                "total_tokens": 399,
                "completion_tokens_details": {"reasoning_tokens": 386},
            }
        },
        (12, 387, None, 386),
    ),
    "OpenAI counts it in": (
        {
            "usage": {
                "prompt_tokens": 12,
                "completion_tokens": 400,
                "total_tokens": 412,
                "completion_tokens_details": {"reasoning_tokens": 386},
            }
        },
        (12, 400, None, 386),
    ),
    "Gemini's compatible API tells it in the total alone": (
        {
            "model": "gemini-2.5-flash",
            "usage": {"prompt_tokens": 20, "completion_tokens": 151, "total_tokens": 553},
        },
        (20, 533, None, 382),
    ),
    "a larger total is no reasoning elsewhere": (
        {"model": "m", "usage": {"prompt_tokens": 20, "completion_tokens": 151, "total_tokens": 553}},
        (20, 151, None, None),
    ),
    "Perplexity's research reasons more than it says": (
        {
            "usage": {
                "prompt_tokens": 33,
                "completion_tokens": 100,
                "total_tokens": 133,
                "reasoning_tokens": 9000,
            }
        },
        (33, 9100, None, 9000),
    ),
    "Moonshot has the cached tokens at the top": (
        {"usage": {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32, "cached_tokens": 20}},
        (30, 2, 20, None),
    ),
    "llama.cpp has timings": (
        {"timings": {"cache_n": 236, "prompt_n": 4, "predicted_n": 35, "prompt_ms": 30.9}},
        (240, 35, 236, None),
    ),
}


@pytest.mark.parametrize("name", USAGES)
def test_usage_is_counted_as_it_is_meant(name: str) -> None:
    document, expected = USAGES[name]
    whole = answered(CHAT, {**chat({}), "usage": None, **document})
    assert counted(whole) == expected
    assert counted(streamed(delta(content="a"), {"choices": [], **document})) == expected


def test_usage_may_stand_in_the_choice() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]}
    assert counted(streamed(delta(content="a"), last))[:2] == (5, 3)


def test_responses_of_followers_count_reasoning_beside_too() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 35,
    }
    found = answered("/v1/responses", {**response({}), "usage": usage})
    assert counted(found) == (10, 25, None, 20)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.25}, 0.25),
        ({"cost": {"request_cost": 0.005, "total_cost": 0.006}}, 0.006),
        ({"cost_in_usd_ticks": 232_856_000}, 0.0232856),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, 0.21),
        ({"cost": 0.2, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.2}}, 0.2),
        ({"cost": 0.01, "is_byok": True}, None),
        ({"cost": True}, None),
        ({}, None),
    ],
    ids=["a number", "parts", "ticks", "own key", "no own key", "own key, unknown", "nonsense", "nothing"],
)
def test_what_a_provider_says_it_cost_is_read(usage: dict[str, Any], cost: float | None) -> None:
    given = {"prompt_tokens": 1, "completion_tokens": 1, **usage}
    assert answered(CHAT, {**chat({}), "usage": given}).answered.usage.cost_usd == cost


def test_calls_of_one_index_are_told_apart_by_their_ids() -> None:
    made = [
        {"index": 0, "id": id_, "type": "function", "function": {"name": "f", "arguments": arguments}}
        for id_, arguments in (("a", '{"x":1}'), ("b", '{"x":2}'))
    ]
    found = streamed(delta(tool_calls=made[:1]), delta(tool_calls=made[1:])).calls
    assert [(one.id, json.loads(one.arguments)) for one in found] == [("a", {"x": 1}), ("b", {"x": 2})]


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


def test_blocks_of_thinking_are_reasoning() -> None:
    said = {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "ok"}]}
    whole = answered(CHAT, {**chat({}), "choices": [{"index": 0, "message": said}]})
    stream = streamed(delta(content=[THOUGHT]), delta(content=[{"type": "text", "text": "ok"}]))
    for exchange in (whole, stream):
        parts = exchange.answered.messages[0]["parts"]
        assert [(part["type"], part["content"]) for part in parts] == [("reasoning", "hm"), ("text", "ok")]
    assert stream.first_content_ns == 1_000_000


def test_a_voice_is_its_transcript_and_an_image_its_size() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 10}}
    found = streamed(
        delta(audio={"id": "audio_1", "transcript": "hel"}),
        delta(audio={"data": "QUJD", "transcript": "lo"}),
        delta(images=[image]),
    )
    parts = found.answered.messages[0]["parts"]
    assert [part["type"] for part in parts] == ["blob", "blob", "text"]
    assert (parts[0]["bytes"], parts[1]["bytes"], parts[2]["content"]) == (30, 3, "hello")


@pytest.mark.parametrize(
    "failing",
    [
        event({"error": {"code": 500, "message": "broke", "type": "server_error"}}),
        event({"message": "broke", "type": "server_error"}, "error"),
        event({"object": "error", "message": "broke", "type": "server_error"}),
        b'error: {"message": "broke", "type": "server_error"}\n\n',
    ],
    ids=["OpenAI", "an event of that name", "vLLM", "llama.cpp"],
)
def test_an_error_within_a_stream_is_one_in_every_form(failing: bytes) -> None:
    found = streamed(delta(content="a"), failing)
    assert (found.outcome, found.error_type, found.error_message) == (
        Outcome.MID_STREAM_ERROR,
        "server_error",
        "broke",
    )


# --------------------------------------------------------------------------- paths that say nothing

GATEWAY = "/serving-endpoints/my-endpoint/invocations"
BY_SHAPE: dict[str, tuple[Any, list[Any], str]] = {
    "chat": (ASKED, [chat({})], "chat_completions"),
    "messages": (ASKED, [message({})], "messages"),
    "generate_content": ({"contents": [{"parts": [{"text": "hi"}]}]}, [gemini()], "generate_content"),
    "responses": ({"input": "hi"}, [response({})], "responses"),
    "embeddings": (
        {"input": ["a"]},
        [{"object": "list", "data": [{"object": "embedding", "embedding": [0.5]}], "usage": {}}],
        "embeddings",
    ),
    "completions": ({"prompt": "a"}, [{"choices": [{"text": "b"}]}], "completions"),
    "ollama": (ASKED, [{"message": {"role": "assistant", "content": "a"}, "done": True}], "ollama_chat"),
    "tokens of messages": (ASKED, [{"tokens": [1, 2], "count": 2}], ""),
    "moderation": ({"input": "a"}, [{"id": "modr-1", "results": [{"flagged": False}]}], ""),
    "no JSON": (b"{not json", [chat({})], ""),
}


@pytest.mark.parametrize("name", BY_SHAPE)
def test_the_api_of_a_gateways_own_path_is_known_by_its_shape(name: str) -> None:
    asked, documents, api = BY_SHAPE[name]
    found = answered(GATEWAY, documents[0], asked)
    assert (found.format.api if found.format else "") == api
    assert not found.faults
    assert found.outcome == Outcome.COMPLETE


@pytest.mark.parametrize(
    ("pieces", "api"),
    [(list(chat_stream({})), "chat_completions"), (list(messages_stream({})), "messages")],
    ids=["chat", "messages"],
)
def test_a_stream_is_known_by_its_first_events(pieces: list[bytes], api: str) -> None:
    found = read_exchange(tape(GATEWAY, {**ASKED, "stream": True}, pieces))
    assert found.format is not None
    assert (found.format.api, found.outcome) == (api, Outcome.COMPLETE)


@pytest.mark.parametrize("media_type", ["", "text/plain; charset=utf-8", "application/octet-stream"])
def test_a_stream_is_one_whatever_it_is_called(media_type: str) -> None:
    pieces = list(chat_stream({"stream_options": {"include_usage": True}}))
    found = read_exchange(tape(CHAT, ASKED, pieces, media_type=media_type))
    assert (found.streamed, found.outcome, counted(found)[:2]) == (True, Outcome.COMPLETE, (19, 10))


@pytest.mark.parametrize(("family", "api"), [("openai", "chat_completions"), ("anthropic", "messages")])
def test_an_error_is_of_the_api_that_was_asked(family: str, api: str) -> None:
    found = answered(GATEWAY, {"error": {"type": "t", "message": "x"}}, status=429, family=family)
    assert found.format is not None
    assert (found.format.api, found.outcome, found.error_type) == (api, Outcome.PROVIDER_ERROR, "t")


# --------------------------------------------------------------------------- LM Studio

STATS = {"tokens_per_second": 51.5, "time_to_first_token": 0.111, "generation_time": 0.954}


@pytest.mark.parametrize("path", ["/api/v0/chat/completions", "/api/v0/completions"])
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_lm_studio_s_first_api_is_openai_s_with_its_speed(path: str, streams: bool) -> None:
    said: Any = {"message": {"role": "assistant", "content": "hi"}} if "chat" in path else {"text": "hi"}
    usage = {"usage": {"prompt_tokens": 24, "completion_tokens": 53, "total_tokens": 77}, "stats": STATS}
    choice = {"index": 0, "finish_reason": "stop", **said}
    if streams:
        piece = {"delta": said["message"]} if "chat" in path else said
        chunks = [
            {"choices": [{"index": 0, **piece}]},
            {"choices": [{**choice, "message": {}, "text": ""}], **usage},
        ]
        found = read_exchange(tape(path, ASKED, [*map(event, chunks), event("[DONE]")]))
    else:
        found = answered(path, {"id": "c", "model": "granite", "choices": [choice], **usage})
    assert (found.outcome, counted(found)[:2], found.answered.finish_reasons) == (
        Outcome.COMPLETE,
        (24, 53),
        ["stop"],
    )
    assert found.answered.messages[0]["parts"][0]["content"] == "hi"
    assert found.answered.attributes["gen_ai.server.time_to_first_token"] == 0.111
    assert found.answered.attributes["eddyline.proxy.tokens_per_second"] == 51.5


def test_answers_without_lm_studio_s_speed_say_nothing_of_it() -> None:
    for stats in ({}, None, {"tokens_per_second": "fast", "time_to_first_token": True}, []):
        attributes = answered(CHAT, chat({}) | {"stats": stats}).answered.attributes
        assert not {name for name in attributes if "token" in name}


LM_ASKED = {
    "model": "openai/gpt-oss-20b",
    "system_prompt": "be brief",
    "input": [
        {"type": "text", "content": "the top model?"},
        {"type": "image", "data_url": "data:image/png;base64,QUJD"},
    ],
    "integrations": [{"type": "ephemeral_mcp", "server_label": "huggingface"}, "mcp/playwright"],
    "max_output_tokens": 9,
    "previous_response_id": "resp_0",
}
LM_CALL = {"tool": "model_search", "arguments": {"limit": 1}, "provider_info": {"type": "ephemeral_mcp"}}
LM_ANSWER = {
    "model_instance_id": "openai/gpt-oss-20b:2",
    "output": [
        {"type": "reasoning", "content": "search"},
        {"type": "tool_call", **LM_CALL, "output": "found"},
        {"type": "invalid_tool_call", "reason": "no such tool", "metadata": {"tool_name": "open"}},
        {"type": "message", "content": "it is x"},
    ],
    "stats": {
        "input_tokens": 329,
        "total_output_tokens": 268,
        "reasoning_output_tokens": 5,
        "tokens_per_second": 43.5,
        "time_to_first_token_seconds": 0.5,
        "model_load_time_seconds": 2,
    },
    "response_id": "resp_1",
}
LM_EVENTS: list[dict[str, Any]] = [
    {"type": "chat.start", "model_instance_id": "openai/gpt-oss-20b:2"},
    {"type": "prompt_processing.progress", "progress": 0.5},
    {"type": "reasoning.start"},
    {"type": "reasoning.delta", "content": "sea"},
    {"type": "reasoning.delta", "content": "rch"},
    {"type": "tool_call.start", "tool": "model_search"},
    {"type": "tool_call.arguments", **LM_CALL},
    {"type": "tool_call.success", **LM_CALL, "output": "found"},
    {"type": "tool_call.start", "tool": "open"},
    {"type": "tool_call.failure", "reason": "no such tool", "metadata": {"tool_name": "open"}},
    {"type": "message.delta", "content": "it is"},
    {"type": "message.delta", "content": " x"},
    {"type": "message.end"},
]
LM_PARTS = [
    {"type": "reasoning", "content": "search"},
    {"type": "server_tool_call", "id": "resp_1:0", "name": "model_search", "arguments": {"limit": 1}},
    {"type": "server_tool_call_response", "id": "resp_1:0", "response": "found"},
    {"type": "server_tool_call", "id": "resp_1:1", "name": "open", "arguments": None},
    {"type": "server_tool_call_response", "id": "resp_1:1", "response": "no such tool", "is_error": True},
    {"type": "text", "content": "it is x"},
]


def test_lm_studio_s_own_chat_is_understood() -> None:
    found = answered("/api/v1/chat", LM_ANSWER, LM_ASKED)
    asked, told = found.asked, found.answered
    assert (asked.model, asked.previous_response, asked.parameters["gen_ai.request.max_tokens"]) == (
        "openai/gpt-oss-20b",
        "resp_0",
        9,
    )
    assert [part["type"] for part in asked.messages[0]["parts"]] == ["text", "blob"]
    assert asked.system == [{"type": "text", "content": "be brief"}]
    assert [tool["name"] for tool in asked.tools] == ["huggingface", "mcp/playwright"]
    assert (told.id, told.model, counted(found)) == ("resp_1", "openai/gpt-oss-20b:2", (329, 268, None, 5))
    assert told.messages == [{"role": "assistant", "parts": LM_PARTS}]
    assert told.attributes == {
        "gen_ai.server.time_to_first_token": 0.5,
        "eddyline.proxy.tokens_per_second": 43.5,
        "eddyline.proxy.load_ms": 2000,
    }
    plain = answered(
        "/api/v1/chat", {"error": {"type": "model_not_found", "message": "x"}}, {"input": "hi"}, status=404
    )
    assert (plain.outcome, plain.error_type) == (Outcome.PROVIDER_ERROR, "model_not_found")
    assert plain.asked.messages == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]


def test_lm_studio_s_stream_is_its_answer_with_the_tools_times() -> None:
    end = {"type": "chat.end", "result": LM_ANSWER}
    found = read_exchange(
        tape("/api/v1/chat", LM_ASKED, [event(one, one["type"]) for one in [*LM_EVENTS, end]])
    )
    assert (found.outcome, found.answered.messages[0]["parts"]) == (Outcome.COMPLETE, LM_PARTS)
    assert counted(found) == (329, 268, None, 5)
    assert found.first_content_ns == 4_000_000
    search, wrong = found.calls
    assert (search.ran_ns, search.on_server) == ((7_000_000, 8_000_000), True)
    assert (wrong.ran_ns, wrong.result is not None and wrong.result.get("is_error")) == (None, True)


def test_lm_studio_s_stream_that_was_cut_or_failed_is_told_by_what_came() -> None:
    cut = read_exchange(tape("/api/v1/chat", LM_ASKED, [*map(event, LM_EVENTS)], ending=Ending.CLIENT))
    assert cut.outcome == Outcome.CLIENT_ABORT
    assert [part.get("content") for part in cut.answered.messages[0]["parts"]][::5] == ["search", "it is x"]
    assert cut.answered.model == "openai/gpt-oss-20b:2"
    error = {"type": "error", "error": {"type": "internal_error", "message": "gone"}}
    rest = [error, {"type": "chat.end", "result": {**LM_ANSWER, "output": LM_ANSWER["output"][:1]}}]
    failed = read_exchange(tape("/api/v1/chat", LM_ASKED, [*map(event, [*LM_EVENTS, *rest])]))
    assert (failed.outcome, failed.error_type) == (Outcome.MID_STREAM_ERROR, "internal_error")
    assert counted(failed)[:2] == (329, 268)


# --------------------------------------------------------------------------- Vertex AI

VERTEX = "/v1/projects/p/locations/global/publishers"


@pytest.mark.parametrize(
    ("path", "api"),
    [
        (f"{VERTEX}/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict", "messages"),
        (f"{VERTEX}/anthropic/models/count-tokens:rawPredict", "count_tokens"),
        (f"{VERTEX}/mistralai/models/codestral-2501:rawPredict", "chat_completions"),
        (f"{VERTEX}/google/models/gemini-2.5-pro:streamGenerateContent", "generate_content"),
        (f"{VERTEX}/google/models/text-embedding-005:predict", "predict_embeddings"),
        ("/v1beta/models/imagen-4.0-generate-001:predict", "predict"),
        ("/v1/projects/p/locations/l/endpoints/7:predict", "predict"),
        ("/api/v1/chat", "lmstudio_chat"),
        ("/v2/chat", "cohere_chat"),
        ("/v1/agents/completions", "chat_completions"),
        ("/v1/fim/completions", "fim_completions"),
        ("/v1beta/interactions", "interactions"),
        ("/v1/responses/compact", "responses"),
        ("/v1/responses/input_tokens", "count_tokens"),
        ("/v1/images/variations", "images"),
    ],
)
def test_an_api_is_known_by_its_path(path: str, api: str) -> None:
    found = format_of(path)
    assert found is not None
    assert found.api == api


def test_vertex_s_embeddings_are_counted_and_not_kept() -> None:
    vectors = [{"embeddings": {"values": [0.1] * 3, "statistics": {"token_count": n}}} for n in (6, 4)]
    asked = {
        "instances": [{"content": "a"}, {"content": "b", "title": "t"}],
        "parameters": {"outputDimensionality": 3},
    }
    found = answered(f"{VERTEX}/google/models/text-embedding-005:predict", {"predictions": vectors}, asked)
    assert (found.asked.operation, found.asked.model) == ("embeddings", "text-embedding-005")
    assert [message["parts"][0]["content"] for message in found.asked.messages] == ["a", "b"]
    assert counted(found)[:2] == (10, None)
    assert found.answered.attributes["gen_ai.embeddings.dimension.count"] == 3
    assert "0.1" not in str(found.answered)
    unknown = answered(
        f"{VERTEX}/google/models/multimodalembedding:predict", {"predictions": [{"textEmbedding": [1, 2]}]}
    )
    assert (unknown.answered.usage.input, unknown.answered.attributes) == (
        None,
        {"gen_ai.embeddings.dimension.count": 2},
    )


def test_vertex_s_images_are_sizes_and_its_gardens_texts_are_texts() -> None:
    asked = {"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 2}}
    image = {"bytesBase64Encoded": "QUJDRA==", "mimeType": "image/png"}
    found = answered("/v1beta/models/imagen-4.0-generate-001:predict", {"predictions": [image, image]}, asked)
    assert (found.asked.operation, found.asked.parameters["gen_ai.request.choice.count"]) == (
        "image_generation",
        2,
    )
    parts = found.answered.messages[0]["parts"]
    assert [(part["type"], part["mime_type"], "QUJD" in str(part)) for part in parts] == [
        ("blob", "image/png", False)
    ] * 2
    endpoint = "/v1/projects/p/locations/l/endpoints/7:predict"
    text = answered(endpoint, {"predictions": ["a cat sat"]}, asked)
    assert (text.asked.operation, text.asked.model) == ("text_completion", "7")
    assert text.answered.messages[0]["parts"] == [{"type": "text", "content": "a cat sat"}]
    other = answered(endpoint, {"predictions": [[0.2, 0.8]]}, {"instances": [[1, 2]]})
    assert (other.asked.operation, other.answered.messages, other.outcome) == ("", [], Outcome.COMPLETE)


def test_counting_the_tokens_of_a_response_uses_none() -> None:
    found = answered("/v1/responses/input_tokens", {"object": "response.input_tokens", "input_tokens": 11})
    assert found.asked.operation == "count_tokens"
    assert not found.answered.usage.known


# --------------------------------------------------------------------------- voices


def test_a_streamed_voice_says_what_it_used() -> None:
    usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    pieces = [
        event({"type": "speech.audio.delta", "audio": "QUJD"}),
        event({"type": "speech.audio.done", "usage": usage}),
    ]
    found = read_exchange(tape("/v1/audio/speech", {"model": "tts", "input": "hi"}, pieces))
    assert counted(found)[:2] == (14, 101)
    assert (found.outcome, found.faults, found.first_content_ns) == (Outcome.COMPLETE, [], 1_000_000)


def test_a_transcript_may_be_plain_text_and_its_voice_is_a_size() -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        + b"\x00" * 5000
        + b"\r\n--x--\r\n"
    )
    found = read_exchange(
        tape(
            "/v1/audio/transcriptions",
            form,
            [b"1\n00:00 --> 00:01\nhello\n"],
            media_type="text/plain",
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
    )
    assert found.answered.messages[0]["parts"][0]["content"].endswith("hello\n")
    assert found.asked.messages[0]["parts"][0]["bytes"] == 5000
    assert not found.faults


def test_what_gemini_hears_and_says_is_counted_apart() -> None:
    document = gemini()
    document["usageMetadata"] |= {
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 2},
            {"modality": "AUDIO", "tokenCount": 6},
        ],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}],
    }
    usage = answered("/v1/models/g:generateContent", document, {}).answered.usage
    assert (usage.audio_input, usage.audio_output) == (6, 20)


# --------------------------------------------------------------------------- paths that several have


def test_a_chat_of_the_first_version_is_whose_it_looks_like() -> None:
    assert getattr(format_of("/v1/chat", "cohere"), "api", "") == "cohere_chat"
    others = answered("/v1/chat", chat({}, "hi"))  # Writer's
    assert (others.format and others.format.api, counted(others)[:2]) == ("chat_completions", (19, 10))
    said = {"generation_id": "g", "text": "hi", "meta": {"tokens": {"input_tokens": 7, "output_tokens": 2}}}
    coheres = answered("/gateway/v1/chat", said, {"message": "hello", "model": "command-r"})
    assert (coheres.format and coheres.format.api, counted(coheres)[:2]) == ("cohere_chat", (7, 2))


FIRST_VERSION: list[dict[str, Any]] = [
    {"is_finished": False, "event_type": "stream-start", "generation_id": "g"},
    {"is_finished": False, "event_type": "text-generation", "text": "he"},
    {"is_finished": False, "event_type": "text-generation", "text": "llo"},
    {
        "is_finished": True,
        "event_type": "stream-end",
        "finish_reason": "COMPLETE",
        "response": {
            "generation_id": "g",
            "text": "hello",
            "meta": {"tokens": {"input_tokens": 7, "output_tokens": 2}},
        },
    },
]


@pytest.mark.parametrize("left", [4, 3])
def test_cohere_s_first_version_streams_lines(left: int) -> None:
    found = read_exchange(
        tape(
            "/v1/chat",
            {"message": "hi", "model": "command-r", "stream": True},
            [json.dumps(line).encode() + b"\n" for line in FIRST_VERSION[:left]],
            media_type="application/stream+json",
            family="cohere",
            ending=Ending.WHOLE if left == 4 else Ending.CLIENT,
        )
    )
    assert found.answered.messages[0]["parts"] == [{"type": "text", "content": "hello"}]
    assert (found.answered.id, found.first_content_ns) == ("g", 2_000_000)
    if left == 4:
        assert (found.outcome, counted(found)[:2]) == (Outcome.COMPLETE, (7, 2))
    else:
        assert (found.outcome, found.error_type) == (Outcome.CLIENT_ABORT, "client_disconnect")


def test_a_stream_of_cohere_s_that_is_given_up_is_no_error_of_its() -> None:
    said = {"message": {"content": {"text": "hi"}}}
    pieces = [
        event({"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}}),
        event({"type": "content-delta", "index": 0, "delta": said}),
    ]
    found = read_exchange(tape("/v2/chat", ASKED, pieces, ending=Ending.CLIENT))
    assert (found.outcome, found.answered.messages[0]["parts"][0]["content"]) == (Outcome.CLIENT_ABORT, "hi")


def test_fill_in_completions_and_agents_answer_like_a_chat() -> None:
    asked = {"model": "codestral", "prompt": "def f(", "suffix": ")", "stream": True}
    whole = answered("/v1/fim/completions", chat({}, "x"), asked)
    stream = read_exchange(tape("/v1/fim/completions", asked, list(chat_stream({}, "x, y"))))
    assert [one.asked.operation for one in (whole, stream)] == ["text_completion"] * 2
    assert whole.asked.messages[0]["parts"] == [{"type": "text", "content": "def f("}]
    assert [one.answered.messages[0]["parts"][0]["content"] for one in (whole, stream)] == ["x", "x, y"]
    agent = answered("/v1/agents/completions", chat({}, "hi"), {**ASKED, "model": None, "agent_id": "ag_1"})
    assert (agent.asked.operation, agent.asked.parameters["gen_ai.agent.id"]) == ("chat", "ag_1")
    assert (agent.asked.model, counted(agent)[:2]) == ("", (19, 10))


def test_who_tells_only_the_total_of_what_was_read_is_counted() -> None:
    vectors = {"data": [{"embedding": [0.1]}], "usage": {"total_tokens": 5}}
    assert counted(answered("/v1/embeddings", vectors, {"input": ["a"]}))[:2] == (5, None)
    ranked = {"data": [{"index": 0, "relevance_score": 0.5}], "usage": {"total_tokens": 26}}
    assert counted(answered("/v1/rerank", ranked, {"query": "q"}))[:2] == (26, None)
    heard = {"text": "hello", "usage": {"prompt_tokens": 4, "completion_tokens": 20, "total_tokens": 24}}
    assert counted(answered("/v1/audio/transcriptions", heard, {"model": "voxtral"}))[:2] == (4, 20)


def test_a_text_that_is_null_says_nothing() -> None:
    document = chat({})
    document["choices"][0]["message"]["content"] = [{"type": "text", "text": None}]
    found = answered(CHAT, document)
    assert found.answered.messages[0]["parts"] == [{"type": "text", "content": ""}]
