"""Tools that a model's answer asks for, from content in any shape that `message` reads."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from mappers.messages.arguments import arguments_of
from mappers.messages.document import compact, hash64
from mappers.messages.message import read_messages
from mappers.model import ToolRequest

MAX_REQUESTS = 128
"""Most requests that are kept of one answer."""
_ASKING = frozenset({"assistant", "", "unknown"})
"""Roles of answers; OpenLLMetry's LangChain does not know that of a streamed one."""


def tool_requests(content: Any) -> tuple[ToolRequest, ...]:
    """The requests in an answer, each once; () if it has none. A text without a hint of one is not parsed."""
    text = content if isinstance(content, str) else None
    if text is None and isinstance(content, (list, tuple)) and all(isinstance(item, str) for item in content):
        text = " ".join(content)
    if text is not None and not _may_ask(text):
        return ()
    return requests_of(
        (part.id, part.name, part.arguments)
        for message in read_messages(content)
        if message.role in _ASKING
        for part in message.parts
        if part.type == "tool_call" and part.name
    )


def _may_ask(text: str) -> bool:
    """Whether a text has what is in every known form of a request: `tool_calls`, `toolUse`, `functionCall`, …, and a
    name under a key in quotes; an answer that says `"tool_calls": null` has none."""
    return ("tool" in text or "unction" in text) and (
        'name"' in text or "name'" in text or 'Name"' in text or "Name'" in text
        or "name\\" in text or "Name\\" in text
    )  # fmt: skip


def requests_of(calls: Iterable[tuple[str, str, str]]) -> tuple[ToolRequest, ...]:
    """The requests in calls given as (id, name, arguments), each once: of a stream some libraries keep the beginning of
    a call too, before its arguments came."""
    found: dict[tuple[str, str, int], ToolRequest] = {}
    for identity, name, arguments in islice(calls, MAX_REQUESTS):
        request = ToolRequest(identity, name, arguments_hash(arguments))
        # Without an id, a request that is there twice was made twice.
        found[request if identity else (*request[:2], -len(found))] = request
    whole = {request.id for request in found.values() if request.id and request.args_hash}
    return tuple(request for request in found.values() if request.args_hash or request.id not in whole)


def arguments_hash(arguments: str) -> int:
    """Hash of a call's arguments without envelopes: equal for the request and for the execution it led to."""
    if not arguments:
        return 0
    value = arguments_of(arguments)
    return hash64(value.encode(errors="replace") if isinstance(value, str) else compact(value))
