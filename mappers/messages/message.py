"""The one message model, and the shapes it is read from.

A shape is recognised by its members, never by the key it was found under: the same key holds OpenAI
messages in one library and GenAI parts in the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mappers.messages.document import content_in, parse
from mappers.messages.part import (
    BLOCKS,
    CALLS,
    REASONING,
    RESULTS,
    Part,
    is_untyped_call,
    kind_of,
    parts_of,
    text_of,
)

MAX_DEPTH = 8
"""Envelopes within envelopes that are opened."""


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """What a reader sees of it: its texts, else its tool results, else its calls, else its reasoning."""
        for wanted in ("text", "tool_result"):
            found = [part.text for part in self.parts if part.type == wanted and part.text]
            if found:
                return "\n".join(found)
        calls = [f"{part.name}({part.arguments})" for part in self.parts if part.type == "tool_call"]
        return "\n".join(calls or [part.text for part in self.parts if part.text])


def read_messages(value: Any) -> list[Message]:
    """Messages in order, from any known shape; [] if the value holds none.

    Understood: lists of messages (OpenAI, Anthropic, Gemini, GenAI parts, LangChain, `[role, text]` pairs),
    responses items, choices, generations, request and response bodies around them, and JSON texts of these.
    """
    return list(_messages(value, 0))


def last_text(value: Any) -> str:
    """Text of the last message that has one, read from the end; "" if there is none.

    Only as much is decoded as is needed: a history of a thousand messages costs one message.
    """
    if isinstance(value, str) and parse(value) is value:
        return value
    for item in _tail(value, 0):
        for message in reversed(list(_messages(item, 1))):
            if message.text:
                return message.text
    return ""


def asked_text(value: Any) -> str:
    """What the user asked last, of a history that may go on to the answer; the last text if no user speaks."""
    if isinstance(value, str) and parse(value) is value:
        return value
    last = ""
    for item in _tail(value, 0):
        for message in reversed(list(_messages(item, 1))):
            if message.role in ("user", "") and any(
                part.type == "text" and part.text for part in message.parts
            ):
                return message.text
            last = last or message.text
    return last


def first_text(value: Any) -> str:
    """Text of the first message that has one: of several choices the first counts."""
    if isinstance(value, str) and parse(value) is value:
        return value
    return next((message.text for message in _messages(value, 0) if message.text), "")


_ENVELOPES = (
    "messages",
    "input",
    "choices",
    "output",
    "outputs",
    "generations",
    "candidates",
    "contents",
    "inputs",
    "replies",
    "prompt",
)
_INNER = ("message", "kwargs", "data", "update", "response", "new_message")
_ROLES = {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "function": "tool",
}

_SPEAKERS = frozenset({"system", "user", "assistant"})


def _tail(value: Any, depth: int) -> Iterator[Any]:
    """Candidates for the last message, the last one first."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, str):
        value = parse(value)
    if isinstance(value, dict) and not _is_message(value):
        for name in _ENVELOPES:
            if value.get(name):
                yield from _tail(value[name], depth + 1)
                return
    if isinstance(value, list) and value and not _is_pair(value):
        for item in reversed(value):
            yield from _tail(item, depth + 1) if isinstance(item, list) else (item,)
        return
    yield value


def _messages(value: Any, depth: int) -> Iterator[Message]:
    if depth > MAX_DEPTH or not value:
        return
    if isinstance(value, str):
        inner = parse(value)
        if inner is value:
            yield Message("", (Part("text", content_in(value)),))
        elif not isinstance(inner, str):
            yield from _messages(inner, depth + 1)
    elif isinstance(value, (list, tuple)):
        if _is_pair(value):
            yield Message(_role(value[0]), (Part("text", value[1]),))
        elif all(isinstance(item, str) for item in value):
            for item in value:
                yield from _message_in(item, depth)
        else:
            for item in value:
                if not isinstance(item, str):
                    yield from _messages(item, depth + 1)
    elif isinstance(value, dict):
        yield from _of_mapping(value, depth)


def _message_in(text: str, depth: int) -> Iterator[Message]:
    """A text of a list: a text, or a message as JSON, as Monocle writes them."""
    inner = parse(text) if text[:1] == "{" else text
    found = list(_messages(inner, depth + 1)) if isinstance(inner, dict) else []
    yield from found or ([Message("", (Part("text", said),))] if (said := content_in(text)) else [])


def _is_pair(value: Sequence[Any]) -> bool:
    return len(value) == 2 and all(isinstance(item, str) for item in value) and value[0].isalpha()


def _role(given: Any) -> str:
    if not isinstance(given, str):
        return ""
    role = given.lower()
    return _ROLES.get(role, role)


def _is_message(value: dict[str, Any]) -> bool:
    return "role" in value or ("content" in value and not _has_envelope(value)) or "parts" in value


def _has_envelope(value: dict[str, Any]) -> bool:
    return any(isinstance(value.get(name), list) for name in _ENVELOPES)


def _of_mapping(value: dict[str, Any], depth: int) -> Iterator[Message]:
    kind = kind_of(value)
    if "role" not in value and (
        kind in CALLS or kind in RESULTS or kind in REASONING or is_untyped_call(value)
    ):
        role = "tool" if kind in RESULTS else "assistant"
        yield from _with_parts(role, [value])
        return
    inner = value.get("content")
    if isinstance(inner, dict):
        if _is_message(inner):  # a candidate of Gemini's
            yield from _messages(inner, depth + 1)
            return
        if isinstance(inner.get("function"), dict) and "role" in value:
            return  # Langfuse's LangChain callback tells the tools on offer as messages
    if not _is_message(value) or ("message" in value and "content" not in value):
        for name in _INNER:
            if isinstance(value.get(name), dict):
                inner = value[name]
                if "role" not in inner and kind:
                    inner = {"type": kind, **inner}
                yield from _messages(inner, depth + 1)
                return
        for name in _ENVELOPES:
            if value.get(name):
                yield from _messages(value[name], depth + 1)
                return
        if isinstance(value.get("text"), str) and value["text"]:
            yield from _with_parts("", [value])
            return
        if len(value) == 1 and (told_by := list(_of_speaker(*next(iter(value.items()))))):
            yield from told_by
            return
    role = _role(value.get("role") or (kind if kind in ("human", "ai", "system", "tool") else ""))
    blocks: list[Any] = []
    # Providers of OpenAI's shape tell reasoning beside the content; Cohere once called the content a message.
    if isinstance(told := value.get("reasoning_content"), str) and told:
        blocks.append({"type": "reasoning", "text": told})
    if isinstance(told := value.get("message"), str):
        blocks.append(told)
    # LlamaIndex's messages have blocks, and some versions the text of these beside them.
    for name in ("blocks",) if value.get("blocks") else ("content", "contents", "parts"):
        found = value.get(name)
        if name == "content" and isinstance(found, str) and _is_beside(found, value.get("contents")):
            continue
        if isinstance(found, str) and found[:1] == "[":
            found = _blocks_in(found)
        # OpenLLMetry's LangChain writes an answer that only asks for tools as an empty text in JSON.
        blocks += found if isinstance(found, list) else [found] if found and found != '""' else []
    calls = value.get("tool_calls")
    if isinstance(calls, list):
        blocks += [{"type": "tool_call", **call} if isinstance(call, dict) else call for call in calls]
    if isinstance(value.get("function_call"), dict):
        blocks.append({"type": "function_call", **value["function_call"]})
    # The id of a tool's message is that of the call in events of the GenAI conventions.
    if role == "tool" and (call_id := value.get("tool_call_id") or value.get("id")):
        found = tuple(parts_of(blocks))
        if not any(part.type == "tool_result" for part in found):
            text = "\n".join(part.text for part in found)
            found = (Part("tool_result", text, text_of(value.get("name")), text_of(call_id)),)
        yield Message(role, found)
        return
    yield from _with_parts(role, blocks)


def _is_beside(text: str, contents: Any) -> bool:
    """Whether the contents hold the text: OpenInference's package for OpenAI's Agents SDK tells an answer twice."""
    if not isinstance(contents, list):
        return False
    texts = [part.text for part in parts_of(contents) if part.type == "text"]
    return text in (*texts, "".join(texts), "\n".join(texts))


def _of_speaker(named: str, said: Any) -> Iterator[Message]:
    """What stands under its speaker's name: a text in OpenLLMetry's Replicate and Watsonx; in Monocle also calls,
    which it puts under `tools` where nothing was said beside them."""
    role = "assistant" if named == "tools" else _role(named)
    if isinstance(said, str):
        if role == "tool":
            yield Message(role, (Part("tool_result", said),))
        elif role in _SPEAKERS and named != "tools":
            yield from _with_parts(role, [said])
        return
    if role != "assistant" or not isinstance(said, (list, dict)):
        return
    calls = [
        parse(item) if isinstance(item, str) and item[:1] == "{" else item
        for item in (said if isinstance(said, list) else [said])
    ]
    if all(isinstance(call, dict) and (kind_of(call) in CALLS or is_untyped_call(call)) for call in calls):
        yield from _with_parts(role, calls)


def _blocks_in(text: str) -> Any:
    """The blocks that a text holds in JSON, as OpenLLMetry writes those of some providers; else the text."""
    if not text.startswith(('[{"type"', "[]")):
        return text
    inner = parse(text)
    told = isinstance(inner, list) and all(isinstance(one, dict) and kind_of(one) in BLOCKS for one in inner)
    return inner if told else text


def _with_parts(role: str, blocks: Sequence[Any]) -> Iterator[Message]:
    parts = tuple(parts_of(blocks))
    if parts:
        yield Message(role, parts)
