"""Tools that a model's answer asks for, from content in any shape that `message` reads."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from mappers.messages.arguments import arguments_of
from mappers.messages.document import hash64, written
from mappers.messages.message import read_messages
from mappers.model import ToolRequest

MAX_REQUESTS = 128
"""Most requests that are kept of one answer."""
_HINTS = ("tool", "unction")
"""One of them is in every known form of a request: `tool_calls`, `toolUse`, `functionCall`, `function_call`, …"""
_NAMES = ('name"', "name'", 'Name"', "Name'", "name\\", "Name\\")
"""And a request has a name, under a key in quotes; an answer that says `"tool_calls": null` has none."""
_ASKING = frozenset({"assistant", ""})


def tool_requests(content: Any) -> tuple[ToolRequest, ...]:
    """The requests in an answer, each once; () if it has none. A text without a hint of one is not parsed."""
    text = content if isinstance(content, str) else None
    if text is None and isinstance(content, (list, tuple)) and all(isinstance(item, str) for item in content):
        text = " ".join(content)
    if text is not None and not (any(map(text.__contains__, _HINTS)) and any(map(text.__contains__, _NAMES))):
        return ()
    return requests_of(
        (part.id, part.name, part.arguments)
        for message in read_messages(content)
        if message.role in _ASKING
        for part in message.parts
        if part.type == "tool_call" and part.name
    )


def requests_of(calls: Iterable[tuple[str, str, str]]) -> tuple[ToolRequest, ...]:
    """The requests in calls given as (id, name, arguments), each once."""
    found: dict[tuple[str, str, int], ToolRequest] = {}
    for identity, name, arguments in islice(calls, MAX_REQUESTS):
        request = ToolRequest(identity, name, arguments_hash(arguments))
        # Without an id, a request that is there twice was made twice.
        found[request if identity else (*request[:2], -len(found))] = request
    return tuple(found.values())


def arguments_hash(arguments: str) -> int:
    """Hash of a call's arguments without envelopes: equal for the request and for the execution it led to."""
    return hash64(written(arguments_of(arguments)).encode(errors="replace")) if arguments else 0
