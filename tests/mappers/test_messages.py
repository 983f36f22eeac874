from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.messages import Message, Part, first_text, last_text, read_messages
from mappers.messages.arguments import arguments_of, result_of
from mappers.messages.document import MAX_LITERAL, compact, hash64, parse
from mappers.messages.flattened import MAX_INDEX, place_of, unflatten
from mappers.messages.requests import tool_requests

ASKED = Message("user", (Part("text", "Weather in Paris?"),))
CALLED = Part("tool_call", "", "get_weather", "call_1", '{"city":"Paris"}')
ANSWERED = Part("tool_result", "18C", "", "call_1")

SHAPES: dict[str, tuple[Any, list[Message]]] = {
    "openai messages": (
        [
            {"role": "user", "content": "Weather in Paris?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "18C"},
        ],
        [ASKED, Message("assistant", (CALLED,)), Message("tool", (ANSWERED,))],
    ),
    "monocle input": (
        [
            '{"user": "Weather in Paris?"}',
            '{"assistant": ["{\\"tool_function\\": \\"get_weather\\", \\"tool_arguments\\": '
            '\\"{\\\\\\"city\\\\\\":\\\\\\"Paris\\\\\\"}\\"}"]}',
            '{"tool": "18C"}',
        ],
        [
            ASKED,
            Message("assistant", (Part("tool_call", "", "get_weather", "", '{"city":"Paris"}'),)),
            Message("tool", (Part("tool_result", "18C"),)),
        ],
    ),
    "monocle calls": (
        {"tools": [{"tool_id": "call_1", "tool_name": "get_weather", "tool_arguments": '{"city":"Paris"}'}]},
        [Message("assistant", (CALLED,))],
    ),
    "monocle's answers of langchain": (
        {"ai": {"name": "get_weather", "args": {"city": "Paris"}, "id": "call_1", "type": "tool_call"}},
        [Message("assistant", (CALLED,))],
    ),
    "pydantic ai's own parts": (
        {
            "kind": "response",
            "parts": [
                {
                    "part_kind": "tool-call",
                    "tool_name": "get_weather",
                    "args": '{"city":"Paris"}',
                    "tool_call_id": "call_1",
                }
            ],
        },
        [Message("", (CALLED,))],
    ),
    "langchain messages as python writes them": (
        ["content='It\\'s 18C' additional_kwargs={} response_metadata={}", "content='unfinished"],
        [
            Message("", (Part("text", "It's 18C"),)),
            Message("", (Part("text", "content='unfinished"),)),
        ],
    ),
    "llama index messages": (
        [
            {
                "role": "user",
                "content": "Weather in Paris?",
                "blocks": [{"block_type": "text", "text": "Weather in Paris?"}],
            },
            {
                "role": "assistant",
                "additional_kwargs": {},
                "blocks": [
                    {
                        "block_type": "tool_call",
                        "tool_call_id": "call_1",
                        "tool_name": "get_weather",
                        "tool_kwargs": {"city": "Paris"},
                    }
                ],
            },
        ],
        [ASKED, Message("assistant", (CALLED,))],
    ),
    "haystack replies": (
        {
            "replies": [
                {
                    "role": "assistant",
                    "meta": {},
                    "content": [
                        {
                            "tool_call": {
                                "tool_name": "get_weather",
                                "arguments": {"city": "Paris"},
                                "id": "call_1",
                            }
                        }
                    ],
                }
            ]
        },
        [Message("assistant", (CALLED,))],
    ),
    "tools on offer among the messages": (
        [
            {"role": "user", "content": "Weather in Paris?"},
            {"role": "tool", "content": {"type": "function", "function": {"name": "get_weather"}}},
        ],
        [ASKED],
    ),
    "blocks in a text": (
        [{"role": "user", "content": '[{"type": "text", "text": "Weather in Paris?"}]'}],
        [ASKED],
    ),
    "json that is no list of blocks": (
        [{"role": "user", "content": '[{"type": "city", "text": "Paris"}]'}],
        [Message("user", (Part("text", '[{"type": "city", "text": "Paris"}]'),))],
    ),
    "named by the speaker": ([{"user": "Weather in Paris?"}], [ASKED]),
    "openai request": (
        {"model": "m", "messages": [{"role": "user", "content": "Weather in Paris?"}]},
        [ASKED],
    ),
    "openai choices": (
        {"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "18C"}}]},
        [Message("assistant", (Part("text", "18C"),))],
    ),
    "responses input": (
        {
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Weather in Paris?"}]},
                {
                    "type": "function_call",
                    "call_id": "call_1",
                    "name": "get_weather",
                    "arguments": '{"city":"Paris"}',
                },
                {"type": "function_call_output", "call_id": "call_1", "output": "18C"},
            ],
        },
        [ASKED, Message("assistant", (CALLED,)), Message("tool", (ANSWERED,))],
    ),
    "responses output": (
        {
            "id": "resp_1",
            "output": [
                {"type": "reasoning", "summary": "Think."},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "18C"}]},
            ],
        },
        [
            Message("assistant", (Part("reasoning", "Think."),)),
            Message("assistant", (Part("text", "18C"),)),
        ],
    ),
    "anthropic blocks": (
        [
            {"role": "user", "content": [{"type": "text", "text": "Weather in Paris?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Think."},
                    {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Paris"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_1",
                        "content": [{"type": "text", "text": "18C"}],
                    }
                ],
            },
        ],
        [
            ASKED,
            Message("assistant", (Part("reasoning", "Think."), CALLED)),
            Message("user", (ANSWERED,)),
        ],
    ),
    "gen_ai parts": (
        [
            {"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]},
            {
                "role": "assistant",
                "parts": [
                    {
                        "type": "tool_call",
                        "id": "call_1",
                        "name": "get_weather",
                        "arguments": {"city": "Paris"},
                    }
                ],
                "finish_reason": "tool_call",
            },
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "18C"}]},
        ],
        [ASKED, Message("assistant", (CALLED,)), Message("tool", (ANSWERED,))],
    ),
    "gemini contents": (
        {"contents": [{"role": "model", "parts": [{"text": "18C"}]}]},
        [Message("assistant", (Part("text", "18C"),))],
    ),
    "langchain": (
        {
            "messages": [
                [
                    {
                        "lc": 1,
                        "type": "constructor",
                        "id": ["langchain", "schema", "messages", "HumanMessage"],
                        "kwargs": {"content": "Weather in Paris?", "type": "human"},
                    }
                ]
            ]
        },
        [ASKED],
    ),
    "langchain pairs": ({"messages": [["user", "Weather in Paris?"]]}, [ASKED]),
    "flattened by openinference": (
        [
            {"message": {"role": "user", "content": "Weather in Paris?"}},
            {
                "message": {
                    "role": "assistant",
                    "contents": [
                        {
                            "message_content": {"type": "tool_use"},
                            "tool_call": {
                                "id": "call_1",
                                "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                            },
                        }
                    ],
                    "tool_calls": [
                        {
                            "tool_call": {
                                "id": "call_1",
                                "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                            }
                        }
                    ],
                }
            },
        ],
        [ASKED, Message("assistant", (CALLED,))],
    ),
    "an answer beside its parts, by openinference": (
        [
            {
                "message": {
                    "role": "assistant",
                    "content": "18C",
                    "contents": [{"message_content": {"type": "text", "text": "18C"}}],
                }
            }
        ],
        [Message("assistant", (Part("text", "18C"),))],
    ),
    "flattened by traceloop": (
        [
            {
                "role": "assistant",
                "tool_calls": [{"id": "call_1", "name": "get_weather", "arguments": '{"city":"Paris"}'}],
            }
        ],
        [Message("assistant", (CALLED,))],
    ),
    "a picture": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;…"}}]}],
        [Message("user", (Part("media", "image/png"),))],
    ),
    "pictures elsewhere": (
        [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}],
            },
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "url", "url": "https://x.test/b.png"}}],
            },
            {
                "role": "user",
                "parts": [{"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/c.png"}}],
            },
            {"role": "user", "parts": [{"type": "uri", "mime_type": "image/png", "uri": "https://x.test/d"}]},
        ],
        [
            Message("user", (Part("media", "image_url", "", "https://x.test/a.png"),)),
            Message("user", (Part("media", "image", "", "https://x.test/b.png"),)),
            Message("user", (Part("media", "image/png", "", "gs://bucket/c.png"),)),
            Message("user", (Part("media", "image/png", "", "https://x.test/d"),)),
        ],
    ),
    "bedrock converse": (
        [
            {"role": "user", "content": [{"text": "Weather in Paris?"}]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Think."}}},
                    {"toolUse": {"toolUseId": "call_1", "name": "get_weather", "input": {"city": "Paris"}}},
                ],
            },
            {
                "role": "user",
                "content": [{"toolResult": {"toolUseId": "call_1", "content": [{"text": "18C"}]}}],
            },
        ],
        [
            ASKED,
            Message("assistant", (Part("reasoning", "Think."), CALLED)),
            Message("user", (ANSWERED,)),
        ],
    ),
    "genkit": (
        {
            "messages": [
                {"role": "user", "content": [{"text": "Weather in Paris?"}]},
                {
                    "role": "model",
                    "content": [
                        {"reasoning": "Think."},
                        {"toolRequest": {"ref": "call_1", "name": "get_weather", "input": {"city": "Paris"}}},
                    ],
                },
                {
                    "role": "tool",
                    "content": [
                        {"toolResponse": {"ref": "call_1", "name": "get_weather", "output": "18C"}},
                    ],
                },
            ]
        },
        [
            ASKED,
            Message("assistant", (Part("reasoning", "Think."), CALLED)),
            Message("tool", (Part("tool_result", "18C", "get_weather", "call_1"),)),
        ],
    ),
    "gemini thoughts": (
        {"candidates": [{"content": {"role": "model", "parts": [{"thought": True, "text": "Think."}]}}]},
        [Message("assistant", (Part("reasoning", "Think."),))],
    ),
    "cohere history": (
        [{"role": "USER", "message": "Weather in Paris?"}, {"role": "CHATBOT", "message": "18C"}],
        [ASKED, Message("assistant", (Part("text", "18C"),))],
    ),
    "cohere calls": (
        [{"role": "CHATBOT", "tool_calls": [{"name": "get_weather", "parameters": {"city": "Paris"}}]}],
        [Message("assistant", (Part("tool_call", "", "get_weather", "", '{"city":"Paris"}'),))],
    ),
    "ai sdk": (
        [
            {"role": "user", "content": [{"type": "text", "text": "Weather in Paris?"}]},
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool-call",
                        "toolCallId": "call_1",
                        "toolName": "get_weather",
                        "input": {"city": "Paris"},
                    }
                ],
            },
            {
                "role": "tool",
                "content": [
                    {
                        "type": "tool-result",
                        "toolCallId": "call_1",
                        "toolName": "get_weather",
                        "output": {"type": "text", "value": "18C"},
                    }
                ],
            },
        ],
        [
            ASKED,
            Message("assistant", (CALLED,)),
            Message("tool", (Part("tool_result", "18C", "get_weather", "call_1"),)),
        ],
    ),
    "a body of an event": (
        {"id": "call_1", "role": "tool", "content": "18C"},
        [Message("tool", (ANSWERED,))],
    ),
    "reasoning beside the content": (
        [{"role": "assistant", "reasoning_content": "Think.", "content": "18C"}],
        [Message("assistant", (Part("reasoning", "Think."), Part("text", "18C")))],
    ),
    "a summary of reasoning": (
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Think."}]}],
        [Message("assistant", (Part("reasoning", "Think."),))],
    ),
    "a text": ("18C", [Message("", (Part("text", "18C"),))]),
    "no messages": ({"city": "Paris"}, []),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_shape_is_known_by_what_it_holds(shape: str, as_text: bool) -> None:
    value, messages = SHAPES[shape]
    if as_text and not isinstance(value, str):
        value = json.dumps(value)
    assert read_messages(value) == messages


@pytest.mark.parametrize("shape", SHAPES)
def test_the_ends_say_what_the_whole_says(shape: str) -> None:
    value, messages = SHAPES[shape]
    texts = [message.text for message in messages] or [""]
    assert (first_text(value), last_text(value)) == (texts[0], texts[-1])


def test_flattened_lists_may_have_gaps_and_two_digit_indexes() -> None:
    pairs = [("10.role", "c"), ("2.role", "b"), ("0.role", "a")]
    assert unflatten(pairs) == [{"role": "a"}, {"role": "b"}, {"role": "c"}]


@pytest.mark.parametrize("index", ["10000", "99999999999999999999", "-1", "²", "1e3", ""])
def test_hostile_indexes_cost_nothing(index: str) -> None:
    assert place_of(f"llm.prompts.{index}.role") == ()
    assert place_of(f"llm.prompts.{MAX_INDEX - 1}.role") == ("llm.prompts", MAX_INDEX - 1)
    assert isinstance(unflatten([(f"{index}.role", "user")]), dict | list)


def test_a_key_with_a_value_and_further_keys_keeps_what_came_first() -> None:
    assert unflatten([("a", 1), ("a.b", 2)]) == {"a": 1}
    assert unflatten([("a.b", 2), ("a", 1)]) == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "{}"}', {"a": "{}"}),
        ("{'a': (1, None, True)}", {"a": (1, None, True)}),
        ('"quoted"', "quoted"),
        ("__import__('os').system('true')", "__import__('os').system('true')"),
        ("[__import__('os')]", "[__import__('os')]"),
        ("(" * 5_000, "(" * 5_000),
        ("[" * 100_000, "[" * 100_000),
        ("42", "42"),
        ("[" + "1," * MAX_LITERAL + "x]", "[" + "1," * MAX_LITERAL + "x]"),
    ],
)
def test_texts_hold_json_else_python_literals_never_code(text: str, value: Any) -> None:
    assert parse(text) == value


MEMBERS = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "parts",
        "text",
        "name",
        "args",
        "arguments",
        "input",
        "output",
        "id",
        "message",
        "messages",
        "tool_calls",
        "function",
        "toolUse",
        "toolResult",
        "functionCall",
        "toolName",
        "image_url",
        "source",
        "thought",
        "reasoning",
        "kwargs",
        "choices",
    ]
)
SCRAPS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["tool", "tool_use", "reasoning", "text", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(SCRAPS)
def test_shapes_may_hold_anything_at_all(value: Any) -> None:
    for message in read_messages(value):
        assert all(isinstance(part.text, str) and isinstance(part.id, str) for part in message.parts)
    assert isinstance(last_text(value), str)
    assert isinstance(tool_requests(value), tuple)
    arguments_of(value)
    result_of(value)


@given(st.text() | st.text(alphabet="[]{}()'\":,\\x01 \n"))
def test_any_text_can_be_parsed(text: str) -> None:
    parse(text)
    read_messages(text)
    assert isinstance(last_text(text), str)


def test_equal_values_have_equal_bytes_and_a_hash_that_is_never_zero() -> None:
    assert compact({"b": [1, 2], "a": None}) == compact({"a": None, "b": [1, 2]}) == b'{"a":null,"b":[1,2]}'
    assert compact({"n": 2**70}) == b'{"n":1180591620717411303424}'
    assert 0 < hash64(b"") < 2**64


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("18C", "18C"),
        ('{"temperature": 18}', {"temperature": 18}),
        ('{"type": "tool", "data": {"content": "18C", "tool_call_id": "1"}}', "18C"),
        ('{"output": {"lc": 1, "type": "constructor", "kwargs": {"content": "18C"}}, "kwargs": {}}', "18C"),
        ([{"role": "tool", "parts": [{"type": "tool_call_response", "response": "18C"}]}], "18C"),
        ({"name": "ask", "tool_call_id": "call_1", "content": "18C"}, "18C"),
        ("content='18C' name='ask' tool_call_id='call_1'", "18C"),
        ("{\"output\": \"content='18C' name='ask' tool_call_id='call_1'\"}", "18C"),
        ([{"text": "18C"}, {"type": "text", "text": "cloudy"}], "18C\ncloudy"),
        ([{"text": "18C", "source": "a"}], [{"text": "18C", "source": "a"}]),
        ("content='18C' of the air", "content='18C' of the air"),
    ],
)
def test_a_result_is_what_the_tool_gave_not_what_carried_it(value: Any, result: Any) -> None:
    assert result_of(value) == result


def test_an_argument_that_is_called_like_an_envelope_stays() -> None:
    assert arguments_of('{"input": {"a": 1}}') == {"input": {"a": 1}}
    assert arguments_of('{"arguments": "text"}') == {"arguments": "text"}


@pytest.mark.parametrize(
    "around",
    [
        '{"type": "tool_result", "content": [%s]}',
        '{"type": "thinking", "thinking": [%s]}',
        '{"message_content": %s}',
    ],
)
def test_blocks_within_blocks_are_opened_up_to_a_depth(around: str) -> None:
    def nested(depth: int) -> str:
        block = '{"type": "text", "text": "inside"}'
        for _ in range(depth):
            block = around % block
        return f'[{{"role": "assistant", "content": [{block}]}}]'

    assert "inside" in first_text(nested(3))
    assert len(read_messages(nested(400))) <= 1
