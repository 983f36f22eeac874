"""What a tool was really asked and what it really answered, without the envelopes of libraries."""

from __future__ import annotations

from typing import Any

from mappers.messages.document import content_in, parse
from mappers.messages.message import read_messages
from mappers.messages.part import Part

_ARGUMENTS_WITHIN = frozenset(
    {"input_str", "inputs", "input", "args", "kwargs", "arguments", "tool_input", "tool_args", "parameters"}
    | {"sanitize_inputs_outputs"}
)
"""One of them is in every envelope of arguments."""
_RESULT_WITHIN = frozenset({"type", "output", "outputs", "tool_call_id"})
"""And of these in every envelope of a result."""
_ENVELOPE_ONLY = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})
_BEEAI_ENVELOPE = {"input", "options"}
_SOLE_WRAPPERS = frozenset({"kwargs", "arguments", "tool_input", "tool_args", "parameters"})
_CALLBACK = frozenset({"tags", "metadata", "kwargs"})
_TEXT_BLOCK = frozenset({"type", "text", "annotations", "meta"})
_MAX_DEPTH = 4


def arguments_of(value: Any) -> Any:
    """The arguments: a mapping where they were one, else what was passed."""
    for _ in range(_MAX_DEPTH):
        if isinstance(value, str):
            value = parse(value)
        inner = _inside_arguments(value)
        if inner is value:
            break
        value = inner
    return value


def result_of(value: Any) -> Any:
    """The result: a text where it was one."""
    for _ in range(_MAX_DEPTH):
        if isinstance(value, str):
            value = parse(content_in(value))
        inner = _inside_result(value)
        if inner is value:
            break
        value = inner
    return value


def _inside_arguments(value: Any) -> Any:
    if isinstance(value, list) and (part := _sole_part(value, "tool_call")):
        return part.arguments
    if not isinstance(value, dict) or _ARGUMENTS_WITHIN.isdisjoint(value):
        return value
    if "input_str" in value:  # LangChain callbacks, as Traceloop records them.
        return value["inputs"] if value.get("inputs") else value["input_str"]
    if "inputs" in value and not _CALLBACK.isdisjoint(value):
        return value["inputs"]
    if value.keys() == _BEEAI_ENVELOPE and isinstance(value["input"], dict):
        return value["input"]
    if value and value.keys() <= _ENVELOPE_ONLY:  # A decorated function's own call.
        args, kwargs = value.get("args"), value.get("kwargs")
        if kwargs and not args:
            return kwargs
        if args and not kwargs:
            return args[0] if isinstance(args, list) and len(args) == 1 else args
        return value if args else {}
    if len(value) == 1:
        key, inner = next(iter(value.items()))
        if key in _SOLE_WRAPPERS and isinstance(inner, dict):
            return inner
    return value


def _inside_result(value: Any) -> Any:
    if isinstance(value, list) and (part := _sole_part(value, "tool_result")):
        return part.text
    if isinstance(value, list) and value and all(map(_is_text_block, value)):
        return "\n".join(block["text"] for block in value)
    if not isinstance(value, dict) or _RESULT_WITHIN.isdisjoint(value):
        return value
    if value.get("type") == "tool" and isinstance(value.get("data"), dict):
        return value["data"].get("content", "")
    if value.get("type") == "constructor" and isinstance(value.get("kwargs"), dict):
        return value["kwargs"].get("content", "")
    if "content" in value and (value.get("type") == "tool" or "tool_call_id" in value):
        return value["content"]
    for name in ("output", "outputs"):
        if name in value and value.keys() <= {name, *_CALLBACK}:
            return value[name]
    return value


def _is_text_block(value: Any) -> bool:
    """A piece of a result of nothing but text, as Bedrock, Strands and MCP write them."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("text"), str)
        and value.keys() <= _TEXT_BLOCK
        and value.get("type", "text") == "text"
    )


def _sole_part(value: list[Any], kind: str) -> Part | None:
    """The only part of the only message, if the list is one that holds just a call or just a result."""
    if len(value) != 1 or not isinstance(value[0], dict) or "parts" not in value[0]:
        return None
    parts = [part for message in read_messages(value) for part in message.parts]
    return parts[0] if len(parts) == 1 and parts[0].type == kind else None
