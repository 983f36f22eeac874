"""What was said in a run, each message once.

Every model call repeats the conversation so far. A message is new where a call has it more often than all calls
before it had, or wrote, it; so histories may be cut, summed up, or begun anew by another agent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mappers.messages import Message, Part, read_messages
from mappers.messages.document import compact, parse
from mappers.model import Event

_SAME_ROLE = {"developer": "system", "": "user"}


@dataclass(frozen=True, slots=True)
class Call:
    """A model call with all that it read and wrote, in any shape of messages; None: not captured."""

    event: Event
    agent: str
    read: Any
    wrote: Any


@dataclass(frozen=True, slots=True)
class Said:
    """A message, and the call in which it stands."""

    call: Call
    wrote: bool
    """The call wrote it; else it read it."""
    role: str
    parts: tuple[Part, ...]
    new: bool
    """No call before had it."""


def conversation(calls: Iterable[Call]) -> Iterator[Said]:
    """All messages of the calls, call by call."""
    had: Counter[tuple[str, ...]] = Counter()
    for call in calls:
        has: Counter[tuple[str, ...]] = Counter()
        for message in read_messages(call.read):
            keys = [key for part in message.parts if (key := _key(message, part, "user"))]
            new = False
            for key in keys:
                has[key] += 1
                new |= has[key] > had[key]
            yield Said(call, False, message.role or "user", message.parts, new)
        had |= has
        for message in read_messages(call.wrote):
            had.update(key for part in message.parts if (key := _key(message, part, "assistant")))
            yield Said(call, True, message.role or "assistant", message.parts, True)


def message_key(message: Message, usual_role: str = "user") -> tuple[tuple[str, ...], ...]:
    """Equal for messages that say the same."""
    return tuple(key for part in message.parts if (key := _key(message, part, usual_role)))


def _key(message: Message, part: Part, usual_role: str) -> tuple[str, ...]:
    """Equal for parts that say the same; () for what is not worth telling again. Reasoning is not always sent back,
    and ids differ from one place to the next."""
    role = message.role or usual_role
    role = _SAME_ROLE.get(role, role)
    match part.type:
        case "reasoning":
            return ()
        case "tool_call":
            return part.type, part.name, _canonical(part.arguments)
        case "tool_result":
            return part.type, _canonical(part.text)
        case "media":
            return role, part.type, part.text, part.id
        case _:
            return (role, part.type, part.text.strip()) if part.text.strip() else ()


def _canonical(text: str) -> str:
    value = parse(text)
    return text.strip() if value is text else compact(value).decode(errors="replace")
