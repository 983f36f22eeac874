"""Tools that a model's answer asks for, from content in any shape that `message` reads."""

from __future__ import annotations

from typing import Any

from mappers.messages.arguments import arguments_of
from mappers.messages.document import hash64, written
from mappers.messages.message import read_messages
from mappers.model import ToolRequest

MAX_REQUESTS = 128
"""Most requests that are kept of one answer."""
_HINTS = ("tool", "unction")
"""One of them is in every known form of a request: `tool_calls`, `toolUse`, `functionCall`, `function_call`, …"""
_ASKING = frozenset({"assistant", ""})


def tool_requests(content: Any) -> tuple[ToolRequest, ...]:
    """The requests in an answer, each once; () if it has none. A text without a hint of one is not parsed."""
    text = content if isinstance(content, str) else None
    if text is None and isinstance(content, (list, tuple)) and all(isinstance(item, str) for item in content):
        text = " ".join(content)
    if text is not None and not any(hint in text for hint in _HINTS):
        return ()
    found: dict[tuple[str, str, int], ToolRequest] = {}
    for message in read_messages(content):
        if message.role not in _ASKING:
            continue
        for part in message.parts:
            if part.type == "tool_call" and part.name:
                request = ToolRequest(part.id, part.name, arguments_hash(part.arguments))
                # Without an id, a request that is there twice was made twice.
                found[request if part.id else (*request[:2], -len(found))] = request
                if len(found) >= MAX_REQUESTS:
                    return tuple(found.values())
    return tuple(found.values())


def arguments_hash(arguments: str) -> int:
    """Hash of a call's arguments without envelopes: equal for the request and for the execution it led to."""
    return hash64(written(arguments_of(arguments)).encode(errors="replace")) if arguments else 0
