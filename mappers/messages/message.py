"""The one message model, and the shapes it is read from.

A shape is recognised by its members, never by the key it was found under: the same key holds OpenAI
messages in one library and GenAI parts in the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mappers.messages.document import compact, parse

MAX_DEPTH = 8
"""Envelopes within envelopes that are opened."""


@dataclass(frozen=True, slots=True)
class Part:
    """`type`: text | reasoning | tool_call | tool_result | media.

    `text` is the text, reasoning, result or media type. A tool call has `name` and `arguments` (canonical
    JSON or the text as sent); a call and its result share `id`.
    """

    type: str
    text: str = ""
    name: str = ""
    id: str = ""
    arguments: str = ""


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
    for item in _tail(value, 0):
        for message in reversed(list(_messages(item, 1))):
            if message.text:
                return message.text
    return ""


def first_text(value: Any) -> str:
    """Text of the first message that has one: of several choices the first counts."""
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
)
_INNER = ("message", "kwargs", "data", "update", "response")
_ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "function": "tool"}
_TEXTS = {"text", "input_text", "output_text", "refusal", "summary_text"}
_REASONING = {"reasoning", "thinking", "redacted_thinking"}
_CALLS = {
    "tool_call",
    "tool_use",
    "function_call",
    "server_tool_call",
    "server_tool_use",
    "tool-call",
    "mcp_call",
}
_RESULTS = {
    "tool_result",
    "tool_call_response",
    "function_call_output",
    "server_tool_call_response",
    "tool-result",
}


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
            yield Message("", (Part("text", value),))
        elif not isinstance(inner, str):
            yield from _messages(inner, depth + 1)
    elif isinstance(value, (list, tuple)):
        if _is_pair(value):
            yield Message(_role(value[0]), (Part("text", value[1]),))
        elif all(isinstance(item, str) for item in value):
            yield from (Message("", (Part("text", item),)) for item in value if item)
        else:
            for item in value:
                if not isinstance(item, str):
                    yield from _messages(item, depth + 1)
    elif isinstance(value, dict):
        yield from _of_mapping(value, depth)


def _is_pair(value: Sequence[Any]) -> bool:
    return len(value) == 2 and all(isinstance(item, str) for item in value) and value[0].isalpha()


def _role(given: Any) -> str:
    return _ROLES.get(given, given) if isinstance(given, str) else ""


def _is_message(value: dict[str, Any]) -> bool:
    return "role" in value or ("content" in value and not _has_envelope(value)) or "parts" in value


def _has_envelope(value: dict[str, Any]) -> bool:
    return any(isinstance(value.get(name), list) for name in _ENVELOPES)


def _of_mapping(value: dict[str, Any], depth: int) -> Iterator[Message]:
    kind = value.get("type")
    if "role" not in value and (
        (isinstance(kind, str) and (kind in _CALLS or kind in _RESULTS or kind in _REASONING))
        or _is_vercel_call(value)
    ):
        role = "tool" if kind in _RESULTS else "assistant"
        yield from _with_parts(role, [value])
        return
    inner = value.get("content")
    if isinstance(inner, dict) and _is_message(inner):  # a candidate of Gemini's
        yield from _messages(inner, depth + 1)
        return
    if not _is_message(value) or ("message" in value and "content" not in value):
        for name in _INNER:
            if isinstance(value.get(name), dict):
                inner = value[name]
                if "role" not in inner and isinstance(kind, str):
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
    role = value.get("role") or (kind if kind in ("human", "ai", "system", "tool") else "")
    role = _role(role)
    blocks: list[Any] = []
    for name in ("content", "contents", "parts"):
        found = value.get(name)
        blocks += found if isinstance(found, list) else [found] if found else []
    calls = value.get("tool_calls")
    if isinstance(calls, list):
        blocks += [{"type": "tool_call", **call} if isinstance(call, dict) else call for call in calls]
    if isinstance(value.get("function_call"), dict):
        blocks.append({"type": "function_call", **value["function_call"]})
    if role == "tool" and (call_id := value.get("tool_call_id")):
        text = "\n".join(part.text for part in _parts(blocks))
        yield Message(role, (Part("tool_result", text, _text(value.get("name")), _text(call_id)),))
        return
    yield from _with_parts(role, blocks)


def _with_parts(role: str, blocks: Sequence[Any]) -> Iterator[Message]:
    parts = tuple(_parts(blocks))
    if parts:
        yield Message(role, parts)


def _parts(blocks: Sequence[Any]) -> Iterator[Part]:
    seen: set[str] = set()
    for block in blocks:
        part = _part(block)
        if part is None or (part.type == "tool_call" and part.id and part.id in seen):
            continue
        # Anthropic spans of OpenInference tell each call twice: among the contents and among the calls.
        seen.add(part.id)
        yield part


def _part(block: Any) -> Part | None:
    if isinstance(block, str):
        return Part("text", block)
    if not isinstance(block, dict):
        return None
    for wrapper in ("message_content", "tool_call"):
        if isinstance(block.get(wrapper), dict):
            return _part({**block[wrapper], **{k: v for k, v in block.items() if k != wrapper}})
    kind = block.get("type")
    function = next(
        (block[k] for k in ("function", "functionCall", "function_call", "toolUse") if _is_dict(block, k)),
        None,
    )
    if (
        function is not None
        or (isinstance(kind, str) and kind in _CALLS)
        or ("name" in block and "args" in block)
        or _is_vercel_call(block)
    ):
        return _call(block, function or block)
    if kind in _RESULTS or any(
        _is_dict(block, key) for key in ("functionResponse", "function_response", "toolResult")
    ):
        return _result(block)
    if kind in _REASONING:
        return Part(
            "reasoning",
            _text(block.get("thinking") or block.get("text") or block.get("content") or block.get("summary")),
        )
    if kind in _TEXTS or kind is None:
        text = block.get("text", block.get("content", block.get("refusal")))
        return Part("text", _text(text)) if text else None
    if kind in ("message", "ai", "human"):
        return None
    return Part("media", _text(block.get("media_type") or block.get("mime_type") or kind))


def _is_dict(block: dict[str, Any], key: str) -> bool:
    return isinstance(block.get(key), dict)


def _is_vercel_call(block: dict[str, Any]) -> bool:
    """The AI SDK's own form, which older versions give no type."""
    return "toolName" in block and ("args" in block or "input" in block) and block.get("type") not in _RESULTS


def _call(block: dict[str, Any], function: dict[str, Any]) -> Part:
    arguments = next((function[k] for k in ("arguments", "input", "args") if function.get(k) is not None), "")
    identity = (
        block.get("call_id")
        or block.get("id")
        or block.get("tool_call_id")
        or block.get("toolCallId")
        or function.get("toolUseId")
    )
    name = function.get("name") or block.get("name") or block.get("toolName")
    return Part("tool_call", "", _text(name), _text(identity), _text(arguments))


def _result(block: dict[str, Any]) -> Part:
    inner = next(
        (block[k] for k in ("functionResponse", "function_response", "toolResult") if _is_dict(block, k)),
        block,
    )
    result = next(
        (inner[k] for k in ("response", "result", "output", "content") if inner.get(k) is not None), ""
    )
    if isinstance(result, list):
        texts = [part.text for part in _parts(result)]
        result = "\n".join(texts) if texts else result
    identity = inner.get("tool_use_id") or inner.get("call_id") or inner.get("id") or inner.get("toolUseId")
    return Part("tool_result", _text(result), _text(inner.get("name")), _text(identity))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else compact(value).decode(errors="replace")
