"""The parts of a message, and the blocks that they are read from: those of OpenAI (chat and responses),
Anthropic, Gemini, Bedrock, Cohere, the GenAI conventions, LangChain, Genkit, Monocle and the AI SDK."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mappers.messages.document import compact, member, unquoted


@dataclass(frozen=True, slots=True)
class Part:
    """`type`: text | reasoning | tool_call | tool_result | media.

    `text` is the text, reasoning, result or media type. A tool call has `name` and `arguments` (canonical
    JSON or the text as sent); a call and its result share `id`. The `id` of media is where they are, if that
    is not in the message itself.
    """

    type: str
    text: str = ""
    name: str = ""
    id: str = ""
    arguments: str = ""


MAX_BLOCKS = 8
"""Blocks within blocks that are opened: a result's content, a wrapper's inside."""

CALLS = frozenset(
    {
        "tool_call",
        "tool_use",
        "function_call",
        "server_tool_call",
        "server_tool_use",
        "tool-call",
        "mcp_call",
        "mcp_tool_use",
        "custom_tool_call",
        "toolUse",
    }
)
RESULTS = frozenset(
    {
        "tool_result",
        "tool_call_response",
        "function_call_output",
        "server_tool_call_response",
        "tool-result",
        "mcp_tool_result",
        "custom_tool_call_output",
        "toolResult",
    }
)
REASONING = frozenset({"reasoning", "thinking", "redacted_thinking"})
_TEXTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text"})
BLOCKS = _TEXTS | CALLS | RESULTS | REASONING
"""Types that tell a list of blocks from what else a model may write in JSON."""
_MESSAGES = frozenset({"message", "ai", "human"})
_WRAPPERS = ("message_content", "tool_call")
"""OpenInference's names for a block's own members."""
_CALL_HOLDERS = ("function", "functionCall", "function_call", "toolUse", "toolRequest", "custom")
_RESULT_HOLDERS = ("functionResponse", "function_response", "toolResult", "toolResponse", "tool_call_result")
_TELLING = frozenset(
    {
        *_WRAPPERS,
        *_CALL_HOLDERS,
        *_RESULT_HOLDERS,
        "args",
        "toolName",
        "tool_name",
        "tool_arguments",
        "thought",
        "reasoningContent",
    }
)
"""Members that tell more of a block than its type."""
_MEDIA_HOLDERS = (
    "inlineData",
    "inline_data",
    "fileData",
    "file_data",
    "image",
    "document",
    "video",
    "audio",
    "media",
)
_ARGUMENTS = ("arguments", "input", "args", "parameters", "tool_kwargs", "tool_arguments")
_NAMES = ("name", "toolName", "tool_name", "tool_function")
_IDENTITIES = ("call_id", "id", "tool_call_id", "toolCallId", "tool_use_id", "toolUseId", "tool_id", "ref")
_PLACES = (
    ("image_url", "url"),
    ("image", "image", "url"),
    ("source", "url"),
    ("fileData", "fileUri"),
    ("file_data", "file_uri"),
    ("media", "url"),
    ("image_url",),
    ("file_id",),
    ("uri",),
    ("url",),
)


def kind_of(block: dict[str, Any]) -> str:
    """The block's `type`, which LlamaIndex calls its `block_type`, where it is a text; "" else."""
    kind = block.get("type") or block.get("block_type")
    return kind if isinstance(kind, str) else ""


def is_untyped_call(block: dict[str, Any]) -> bool:
    """The AI SDK's own form, which older versions give no type, OpenAI's outside of its message, and Monocle's."""
    function = block.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        return True
    if "tool_arguments" in block:
        return "tool_name" in block or "tool_function" in block
    return "toolName" in block and ("args" in block or "input" in block) and kind_of(block) not in RESULTS


def parts_of(blocks: Sequence[Any], depth: int = 0) -> Iterator[Part]:
    """The parts in order; a call that is told twice once, with its arguments if one of them has these.

    Args:
        depth: how many blocks these lie in; what lies deeper than `MAX_BLOCKS` has no parts.
    """
    parts: list[Part] = []
    places: dict[str, int] = {}
    for block in blocks if depth <= MAX_BLOCKS else ():
        part = _part(block, depth)
        if part is None:
            continue
        # Anthropic spans of OpenInference tell each call twice: among the contents and among the calls.
        if part.type == "tool_call" and part.id and (place := places.get(part.id)) is not None:
            if parts[place].type == "tool_call" and not parts[place].arguments:
                parts[place] = part
            continue
        places.setdefault(part.id, len(parts))
        parts.append(part)
    return iter(parts)


def _part(block: Any, depth: int) -> Part | None:
    if isinstance(block, str):
        return Part("text", block)
    if not isinstance(block, dict):
        return None
    kind = kind_of(block)
    if _TELLING.isdisjoint(block):  # as most are
        return _plain(block, kind, depth)
    for wrapper in _WRAPPERS if depth < MAX_BLOCKS else ():
        if isinstance(block.get(wrapper), dict):
            inside = {**block[wrapper], **{k: v for k, v in block.items() if k != wrapper}}
            return _part(inside, depth + 1)
    if (inner := _held(block, _CALL_HOLDERS)) is not None:
        return _call(block, inner)
    if "args" in block and ("name" in block or "tool_name" in block):
        return _call(block, block)
    if "tool_name" in block and "arguments" in block:
        return _call(block, block)
    if is_untyped_call(block):
        return _call(block, block)
    if (inner := _held(block, _RESULT_HOLDERS)) is not None:
        return _result(inner, depth)
    if block.get("thought") is True:
        return _reasoning(block, depth)
    if isinstance(block.get("reasoningContent"), dict):
        return Part("reasoning", text_of(member(block, ("reasoningContent", "reasoningText", "text"))))
    return _plain(block, kind, depth)


def _plain(block: dict[str, Any], kind: str, depth: int) -> Part | None:
    """Of blocks that their `type` tells, and of those that have none."""
    if kind in _TEXTS or not kind:
        text = block.get("text", block.get("content", block.get("refusal")))
        if text:
            return Part("text", text_of(text))
        held = _held(block, _MEDIA_HOLDERS)
        return _media(block, held) if held is not None else _plain_reasoning(block)
    if kind in CALLS:
        return _call(block, block)
    if kind in RESULTS:
        return _result(block, depth)
    if kind in REASONING:
        return _reasoning(block, depth)
    if kind in _MESSAGES:
        return None
    return _media(block, _held(block, _MEDIA_HOLDERS) or _held(block, ("source",)) or block)


def _held(block: dict[str, Any], holders: Sequence[str]) -> dict[str, Any] | None:
    """The first of these members that is a mapping."""
    return next((block[name] for name in holders if isinstance(block.get(name), dict)), None)


def _call(block: dict[str, Any], function: dict[str, Any]) -> Part:
    arguments = next((function[k] for k in _ARGUMENTS if function.get(k) is not None), "")
    name = function.get("name") or next((block[k] for k in _NAMES if block.get(k)), "")
    return Part(
        "tool_call", "", text_of(name), _identity(block) or _identity(function), unquoted(text_of(arguments))
    )


def _result(block: dict[str, Any], depth: int) -> Part:
    result = next(
        (block[k] for k in ("response", "result", "output", "content") if block.get(k) is not None), ""
    )
    if isinstance(result, list):
        texts = [part.text for part in parts_of(result, depth + 1)]
        result = "\n".join(texts) if texts else result
    elif isinstance(result, dict) and result.keys() == {"type", "value"}:  # the AI SDK's envelope
        result = result["value"]
    return Part(
        "tool_result", text_of(result), text_of(block.get("name") or block.get("toolName")), _identity(block)
    )


def _identity(block: dict[str, Any]) -> str:
    return next((value for name in _IDENTITIES if isinstance(value := block.get(name), str) and value), "")


def _reasoning(block: dict[str, Any], depth: int) -> Part:
    told = block.get("thinking") or block.get("text") or block.get("content") or block.get("summary")
    if isinstance(told, list):
        return Part("reasoning", "\n".join(part.text for part in parts_of(told, depth + 1)))
    return Part("reasoning", text_of(told))


def _plain_reasoning(block: dict[str, Any]) -> Part | None:
    told = block.get("reasoning")
    return Part("reasoning", told) if isinstance(told, str) and told else None


def _media(block: dict[str, Any], inner: dict[str, Any]) -> Part:
    names = ("media_type", "mime_type", "mimeType", "mediaType", "contentType", "format", "modality")
    kind = next((text_of(holder[k]) for k in names for holder in (inner, block) if holder.get(k)), "")
    place = next((found for path in _PLACES if isinstance(found := member(block, path), str) and found), "")
    if place.startswith("data:"):
        kind, place = kind or place[5:].partition(";")[0][:100], ""
    return Part("media", kind or kind_of(block), "", place)


def text_of(value: Any) -> str:
    """A text as it is, anything else as canonical JSON, nothing as ""."""
    if isinstance(value, str):
        return value
    return "" if value is None else compact(value).decode(errors="replace")
