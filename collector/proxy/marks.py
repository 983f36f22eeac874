"""What of one call other calls of its conversation can be known by: ids that come back, a history that repeats.

What is left out of a comparison is what clients change from turn to turn: system prompts, reminders, cache marks,
reasoning, signatures, white space at the ends.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from hashlib import blake2b

import orjson

from collector.proxy.exchange import Exchange, Outcome
from collector.proxy.formats import Message, Part

TAIL_LENGTH = 40
"""Characters from which on an answer alone is telling."""

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)

Turn = tuple[str, list[tuple[str, ...]]]
"""(role, parts): each part its kind, and what of it stays the same."""


class Marks:
    """Of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._turns = list(_turns(exchange.asked.messages))
        self._chain = _chain(self._turns)
        self._client = exchange.tape.client

    def user_turn(self) -> tuple[bytes, bytes, bool] | None:
        """(hash of the conversation up to the user's last message, hash of the message, whether nothing follows it);
        None if there is none. What comes with the results of tools is no message of its own."""
        for index in range(len(self._turns) - 1, -1, -1):
            role, parts = self._turns[index]
            if role == "user" and not any(part[0] == "result" for part in parts):
                return self._chain[index], _digest(parts), index == len(self._turns) - 1
        return None

    def results(self) -> list[str]:
        """Ids of the tool calls whose results it has, the newest first."""
        return [
            part[1] for _, parts in reversed(self._turns) for part in reversed(parts) if part[0] == "result"
        ]

    @property
    def retry_key(self) -> tuple[Hashable, ...]:
        whole = self._chain[-1] if self._chain else b""
        return ("retry", self._client, self._exchange.asked.model, whole)

    def lookups(self) -> Iterator[tuple[str, float, tuple[Hashable, ...]]]:
        """(method, confidence, key), the most telling first."""
        asked = self._exchange.asked
        if asked.previous_response:
            yield "response_id", 1.0, ("response", asked.previous_response)
        for _, parts in reversed(self._turns):
            for part in reversed(parts):
                if part[0] == "result" and part[1]:
                    yield "tool_call", 0.99, ("call", part[1])
        said = [index for index, (role, _) in enumerate(self._turns) if role == "assistant"]
        for index in reversed(said):
            yield "chain", 0.95, ("chain", self._chain[index])
        for index in reversed(said):
            if _length(self._turns[index][1]) >= TAIL_LENGTH:
                yield "tail", 0.7, ("tail", self._client, _digest(self._turns[index][1]))
                break
        if self._turns:
            yield "retry", 0.9, self.retry_key

    def left(self) -> Iterator[tuple[tuple[Hashable, ...], bool]]:
        """(key, whether only one session may have it)."""
        exchange = self._exchange
        if exchange.outcome != Outcome.COMPLETE and self._turns:
            yield self.retry_key, False
        if exchange.answered.id:
            yield ("response", exchange.answered.id), False
        for call in exchange.calls:
            if call.id:
                yield ("call", call.id), False
        answer = list(_turns(exchange.answered.messages[:1]))
        if answer:
            parts = answer[0][1]
            before = len(self._turns)
            if before and self._turns[-1][0] == "assistant":  # a prefilled answer goes on in the next one
                before, parts = before - 1, [*self._turns[-1][1], *parts]
            yield ("chain", _linked(self._chain[before - 1] if before else b"", "assistant", parts)), False
            if _length(parts) >= TAIL_LENGTH:
                yield ("tail", self._client, _digest(parts)), True


def _turns(messages: Sequence[Message]) -> Iterator[Turn]:
    """Roles and what they said, without what clients change; one turn for messages of one role in a row."""
    held: Turn | None = None
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            continue
        parts = [kept for part in message["parts"] if (kept := _kept(part)) is not None]
        if not parts:
            continue
        if role == "user" and all(part[0] == "result" for part in parts):
            role = "tool"
        if held is not None and held[0] == role:
            held[1].extend(parts)
            continue
        if held is not None:
            yield held
        held = (role, parts)
    if held is not None:
        yield held


def _kept(part: Part) -> tuple[str, ...] | None:
    match part["type"]:
        case "text":
            text = _REMINDER.sub("", part["content"]).strip()
            return ("text", text) if text else None
        case "tool_call":
            return ("call", part["id"], part["name"])
        case "tool_call_response":
            return ("result", part["id"])
        case "blob":
            return ("blob", str(part.get("sha256", "")))
        case "uri":
            return ("uri", str(part.get("uri", "")))
    return None  # reasoning, server tools: some clients send them back, some do not


def _chain(turns: Sequence[Turn]) -> list[bytes]:
    """For each turn the hash of the conversation up to it."""
    hashes = []
    hashed = b""
    for role, parts in turns:
        hashed = _linked(hashed, role, parts)
        hashes.append(hashed)
    return hashes


def _linked(before: bytes, role: str, parts: Sequence[tuple[str, ...]]) -> bytes:
    """The hash of a conversation that goes on with this turn."""
    return blake2b(before + orjson.dumps([role, parts]), digest_size=16).digest()


def _digest(parts: Sequence[tuple[str, ...]]) -> bytes:
    return blake2b(orjson.dumps(parts), digest_size=16).digest()


def _length(parts: Sequence[tuple[str, ...]]) -> int:
    return sum(len(part[1]) for part in parts if part[0] == "text")
