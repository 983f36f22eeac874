"""Amazon Bedrock: its binary framing, Converse, and each vendor's own words within InvokeModel."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collector.proxy.exchange import Exchange, Outcome, read_exchange
from collector.proxy.tape import Ending
from tests.collector.proxy.tapes import MS, tape
from tests.provider import amazon_message, converse, converse_stream, invoked, invoked_stream, message

AMAZON = "application/vnd.amazon.eventstream"
TOOL_USE = {"toolUseId": "tooluse_1", "name": "get_weather", "input": {"city": "Lyon"}}
CLAUDE = "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0"


def read(
    path: str, request: Any, answer: Any, *, headers: dict[str, str] | None = None, **more: Any
) -> Exchange:
    pieces = answer if isinstance(answer, list) else [json.dumps(answer).encode()]
    more.setdefault("media_type", AMAZON if isinstance(answer, list) else "application/json")
    return read_exchange(tape(path, request, pieces, family="bedrock", response_headers=headers, **more))


ASKED = {
    "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
    "messages": [
        {
            "role": "user",
            "content": [{"text": "Weather?"}, {"image": {"format": "png", "source": {"bytes": "aGk="}}}],
        },
        {"role": "assistant", "content": [{"toolUse": TOOL_USE}]},
        {
            "role": "user",
            "content": [
                {
                    "toolResult": {
                        "toolUseId": "tooluse_1",
                        "content": [{"json": {"c": 21}}],
                        "status": "error",
                    }
                }
            ],
        },
    ],
    "inferenceConfig": {"maxTokens": 50, "topP": 0.5, "stopSequences": ["x"]},
    "toolConfig": {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": {}}}}]},
}


def test_a_request_to_converse_is_read() -> None:
    asked = read(f"{CLAUDE}/converse", ASKED, converse()).asked
    assert asked.model == "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert asked.parameters == {
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.stop_sequences": ["x"],
    }
    assert asked.system == [{"type": "text", "content": "Be brief."}]
    assert asked.tools == [{"type": "function", "name": "get_weather"}]
    image = asked.messages[0]["parts"][1]
    assert (image["type"], image["mime_type"]) == ("blob", "image/png")
    assert asked.messages[1]["parts"] == [
        {"type": "tool_call", "id": "tooluse_1", "name": "get_weather", "arguments": {"city": "Lyon"}}
    ]
    assert asked.messages[2]["parts"] == [
        {"type": "tool_call_response", "id": "tooluse_1", "response": {"c": 21}, "is_error": True}
    ]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_answer_of_converse_is_the_same_streamed_or_not(streamed: bool) -> None:
    if streamed:
        exchange = read(
            f"{CLAUDE}/converse-stream", ASKED, list(converse_stream(TOOL_USE, text="Let me see."))
        )
    else:
        exchange = read(f"{CLAUDE}/converse", ASKED, converse(TOOL_USE, text="Let me see."))
    answered = exchange.answered
    assert (exchange.outcome, exchange.faults, exchange.streamed) == (Outcome.COMPLETE, [], streamed)
    assert answered.finish_reasons == ["tool_call"]
    assert answered.messages[0]["parts"] == [
        {"type": "text", "content": "Let me see."},
        {"type": "tool_call", "id": "tooluse_1", "name": "get_weather", "arguments": {"city": "Lyon"}},
    ]
    usage = answered.usage
    assert (usage.input, usage.output, usage.cache_read, usage.cache_write) == (24, 6, 4, None)
    assert [made.id for made in exchange.calls] == ["tooluse_1"]


def test_a_tool_call_ended_with_its_last_piece() -> None:
    pieces = list(converse_stream(TOOL_USE, text="ab"))
    exchange = read("/model/m/converse-stream", ASKED, pieces)
    stop = len(pieces) - 2  # after it come messageStop and metadata
    assert exchange.calls[0].ended_ns == stop * MS


def test_reasoning_is_told_from_text() -> None:
    def delta(index: int, **given: Any) -> bytes:
        payload = {"contentBlockIndex": index, "delta": given}
        return amazon_message(payload, event_type="contentBlockDelta")

    pieces = [
        delta(0, reasoningContent={"text": "Hm"}),
        delta(0, reasoningContent={"text": "m."}),
        delta(0, reasoningContent={"signature": "c2ln"}),
        delta(1, text="Yes."),
        amazon_message({"stopReason": "max_tokens"}, event_type="messageStop"),
    ]
    answered = read("/model/m/converse-stream", ASKED, pieces).answered
    assert answered.messages[0]["parts"] == [
        {"type": "reasoning", "content": "Hmm."},
        {"type": "text", "content": "Yes."},
    ]
    assert answered.finish_reasons == ["length"]


ENDS: dict[str, tuple[list[bytes], Ending, str, str]] = {
    "hung up after the end": (list(converse_stream())[:-1], Ending.CLIENT, Outcome.COMPLETE, ""),
    "hung up before": (list(converse_stream())[:4], Ending.CLIENT, Outcome.CLIENT_ABORT, "client_disconnect"),
    "cut off": (list(converse_stream())[:4], Ending.UPSTREAM, Outcome.UPSTREAM_ABORT, "stream_ended_early"),
    "throttled within": (
        [
            *list(converse_stream())[:4],
            amazon_message(
                {"message": "slow down"}, message_type="exception", exception_type="throttlingException"
            ),
        ],
        Ending.WHOLE,
        Outcome.MID_STREAM_ERROR,
        "throttlingException",
    ),
    "an error without a shape": (
        [amazon_message(b"", message_type="error", error_code="InternalError", error_message="oh")],
        Ending.WHOLE,
        Outcome.MID_STREAM_ERROR,
        "InternalError",
    ),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("verb", ["converse-stream", "invoke-with-response-stream"])
def test_how_a_stream_ended(verb: str, name: str) -> None:
    pieces, ending, outcome, error = ENDS[name]
    if verb == "invoke-with-response-stream" and "message" not in name and ending is not Ending.WHOLE:
        whole = list(invoked_stream({}))
        pieces = whole if outcome == Outcome.COMPLETE else whole[:3]
    exchange = read(f"/model/m/{verb}", ASKED, pieces, ending=ending)
    assert (exchange.outcome, exchange.error_type) == (outcome, error)


def test_a_damaged_frame_is_a_fault_of_the_reading_and_keeps_what_came_before() -> None:
    pieces = list(converse_stream(text="abcdefgh"))
    damaged = bytearray(pieces[3])
    damaged[-6] ^= 1
    exchange = read("/model/m/converse-stream", ASKED, [*pieces[:3], bytes(damaged), *pieces[4:]])
    assert exchange.faults == ["response"]
    assert exchange.answered.messages[0]["parts"] == [{"type": "text", "content": "abcdefgh"}]


def test_an_error_has_the_type_that_its_header_names() -> None:
    exchange = read(
        f"{CLAUDE}/converse",
        ASKED,
        {"message": "Malformed input"},
        status=400,
        headers={"x-amzn-ErrorType": "ValidationException:http://internal.amazon.com/coral/"},
    )
    assert (exchange.outcome, exchange.error_type) == (Outcome.PROVIDER_ERROR, "ValidationException")
    assert exchange.error_message == "Malformed input"


# --------------------------------------------------------------------------- InvokeModel

HI = [{"role": "user", "content": "hi"}]
COUNTS = {"x-amzn-bedrock-input-token-count": "7", "x-amzn-bedrock-output-token-count": "3"}
NOVA = [{"role": "user", "content": [{"text": "hi"}]}]

INVOKED: dict[str, tuple[str, Any, Any, dict[str, str], tuple[Any, ...]]] = {
    "claude": (
        "anthropic.claude-3-haiku",
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": HI},
        message({}, [{"type": "text", "text": "Hello"}]),
        COUNTS,
        ("chat", "Hello", "stop", 21),
    ),
    "nova": (
        "us.amazon.nova-lite-v1%3A0",
        {"schemaVersion": "messages-v1", "messages": NOVA, "inferenceConfig": {"max_new_tokens": 9}},
        converse(text="Hello"),
        {},
        ("chat", "Hello", "stop", 24),
    ),
    "titan": (
        "amazon.titan-text-express-v1",
        {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 9}},
        {
            "inputTextTokenCount": 3,
            "results": [{"tokenCount": 2, "outputText": "Hello", "completionReason": "FINISH"}],
        },
        {},
        ("text_completion", "Hello", "stop", 3),
    ),
    "llama": (
        "meta.llama3-8b-instruct-v1%3A0",
        {"prompt": "hi", "max_gen_len": 9},
        {"generation": "Hello", "prompt_token_count": 5, "generation_token_count": 2, "stop_reason": "stop"},
        {},
        ("text_completion", "Hello", "stop", 5),
    ),
    "mistral": (
        "mistral.mistral-7b-instruct-v0%3A2",
        {"prompt": "<s>[INST] hi [/INST]", "max_tokens": 9},
        {"outputs": [{"text": "Hello", "stop_reason": "stop"}]},
        COUNTS,
        ("text_completion", "Hello", "stop", 7),
    ),
    "openai's": (
        "openai.gpt-oss-20b-1%3A0",
        {"messages": HI, "max_tokens": 9},
        {
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 8, "completion_tokens": 2},
        },
        {},
        ("chat", "Hello", "stop", 8),
    ),
    "cohere": (
        "cohere.command-r-v1%3A0",
        {"message": "hi", "max_tokens": 9},
        {"text": "Hello", "finish_reason": "COMPLETE", "generation_id": "g"},
        COUNTS,
        ("chat", "Hello", "stop", 7),
    ),
    "titan's vectors": (
        "amazon.titan-embed-text-v2%3A0",
        {"inputText": "hi", "dimensions": 256},
        {"embedding": [0.1, 0.2], "inputTextTokenCount": 2},
        {},
        ("embeddings", "", "", 2),
    ),
    "cohere's vectors": (
        "cohere.embed-english-v3",
        {"texts": ["hi"], "input_type": "search_document"},
        {"embeddings": [[0.1]], "id": "e", "texts": ["hi"], "response_type": "embeddings_floats"},
        COUNTS,
        ("embeddings", "", "", 7),
    ),
}


@pytest.mark.parametrize("vendor", INVOKED)
def test_each_vendors_own_words_are_understood(vendor: str) -> None:
    model, request, answer, headers, expected = INVOKED[vendor]
    exchange = read(f"/model/{model}/invoke", request, answer, headers=headers)
    answered = exchange.answered
    assert (exchange.outcome, exchange.faults) == (Outcome.COMPLETE, [])
    assert exchange.asked.model == model.replace("%3A", ":")
    text = "".join(part["content"] for said in answered.messages for part in said["parts"])
    assert (
        exchange.asked.operation,
        text,
        "".join(answered.finish_reasons),
        answered.usage.input,
    ) == expected
    assert exchange.asked.messages[-1]["parts"][-1]["content"].strip("<s>[INST] /").startswith("hi")


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 7, "outputTokenCount": 3}}
STREAMED: dict[str, tuple[list[Any], int]] = {
    "nova": (
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Hel"}}},
            {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "lo"}}},
            {"contentBlockStop": {"contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": {"inputTokens": 4, "outputTokens": 2}}, **METRICS},
        ],
        4,
    ),
    "titan": (
        [
            {"outputText": "Hel", "index": 0, "totalOutputTextTokenCount": None, "inputTextTokenCount": 3},
            {
                "outputText": "lo",
                "index": 0,
                "totalOutputTextTokenCount": 2,
                "completionReason": "FINISH",
                **METRICS,
            },
        ],
        3,
    ),
    "llama": (
        [
            {"generation": "Hel", "prompt_token_count": 5, "generation_token_count": 1, "stop_reason": None},
            {"generation": "lo", "generation_token_count": 2, "stop_reason": "stop", **METRICS},
        ],
        5,
    ),
    "mistral": (
        [
            {"outputs": [{"text": "Hel", "stop_reason": None}]},
            {"outputs": [{"text": "lo", "stop_reason": "stop"}], **METRICS},
        ],
        7,
    ),
    "cohere": (
        [
            {"is_finished": False, "event_type": "text-generation", "text": "Hel"},
            {"is_finished": False, "event_type": "text-generation", "text": "lo"},
            {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", **METRICS},
        ],
        7,
    ),
    "openai's": (
        [
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]},
            {"choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}], **METRICS},
        ],
        7,
    ),
}


@pytest.mark.parametrize("vendor", STREAMED)
def test_each_vendors_own_stream_is_put_together(vendor: str) -> None:
    events, input_tokens = STREAMED[vendor]
    exchange = read(
        "/model/m/invoke-with-response-stream", {"prompt": "hi"}, [invoked(one) for one in events]
    )
    answered = exchange.answered
    assert (exchange.outcome, exchange.faults) == (Outcome.COMPLETE, [])
    assert [part["content"] for part in answered.messages[0]["parts"]] == ["Hello"]
    assert (answered.finish_reasons, answered.usage.input) == (["stop"], input_tokens)


def test_claudes_stream_is_anthropics() -> None:
    request = {"anthropic_version": "bedrock-2023-05-31", "messages": HI, "max_tokens": 9}
    exchange = read(f"{CLAUDE}/invoke-with-response-stream", request, list(invoked_stream({})))
    assert exchange.outcome == Outcome.COMPLETE
    assert exchange.answered.usage.output is not None
    assert exchange.first_content_ns is not None


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/model/amazon.nova-pro-v1%3A0/converse", "amazon.nova-pro-v1:0"),
        (
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-pro-v1%3A0/converse",
            "us.amazon.nova-pro-v1:0",
        ),
        (
            "/model/arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123/converse",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123",
        ),
    ],
    ids=["id", "profile", "own profile"],
)
def test_the_model_is_named_by_the_path(path: str, model: str) -> None:
    assert read(path, ASKED, converse()).asked.model == model


def test_counting_tokens_uses_none() -> None:
    exchange = read("/model/m/count-tokens", {"input": {"converse": ASKED}}, {"inputTokens": 12})
    assert (exchange.asked.operation, exchange.answered.usage.known) == ("count_tokens", False)
    assert exchange.answered.attributes == {"eddyline.proxy.counted_tokens": 12}
