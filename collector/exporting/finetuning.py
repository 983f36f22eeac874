"""Conversations in the form that OpenAI takes for fine-tuning: `{"messages": […]}`, the last of them the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from mappers.conversation import Call
from mappers.messages import Message, read_messages

_ROLES = {"developer": "system", "": "user"}


def examples(calls: Iterable[Call]) -> Iterator[dict[str, Any]]:
    """One example for each conversation. A call whose messages all stand at the beginning of a later call's is left
    out: the later example says the same and more. So are failed calls, and those whose content was not captured."""
    found: list[tuple[list[bytes], dict[str, Any]]] = []
    for call in calls:
        read, wrote = read_messages(call.read), read_messages(call.wrote)
        if not read or not wrote or call.event.status == "error":
            continue
        messages = [*_all(read, "user"), *_all(wrote[:1], "assistant")]
        if messages[-1]["role"] != "assistant":
            continue
        written = [orjson.dumps(message, option=orjson.OPT_SORT_KEYS) for message in messages]
        found = [(earlier, example) for earlier, example in found if written[: len(earlier)] != earlier]
        found.append((written, {"messages": messages}))
    for _, example in found:
        yield example


def _all(messages: Sequence[Message], usual_role: str) -> Iterator[dict[str, Any]]:
    for message in messages:
        role = _ROLES.get(message.role, message.role) if message.role else usual_role
        text = "\n".join(part.text for part in message.parts if part.type == "text")
        results = [part for part in message.parts if part.type == "tool_result"]
        calls = [
            {
                "id": part.id,
                "type": "function",
                "function": {"name": part.name, "arguments": part.arguments or "{}"},
            }
            for part in message.parts
            if part.type == "tool_call"
        ]
        for result in results:
            yield {"role": "tool", "tool_call_id": result.id, "content": result.text}
        if calls:
            yield {"role": "assistant", "content": text or None, "tool_calls": calls}
        elif text or not results:
            yield {"role": role, "content": text}
