"""Changing what is said in a call, for the plugins that do: requests as a whole, answers as they come.

Only texts that people and models write are touched, never names, ids or arguments. What is not JSON, and what is
packed, passes as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Message, Receive

from collector.config import ProxyPlugin
from collector.proxy.posting import Read

MAX_REQUEST = 32 << 20
"""Bytes of a request that are held to be changed; a longer one passes as it is."""
_SAID = frozenset(
    {"content", "text", "input", "instructions", "system", "prompt", "output_text", "response", "message"}
)
"""Members that hold what is said, where they are texts."""
_HOLDING = frozenset(
    {
        *("messages", "contents", "parts", "part", "choices", "candidates", "delta", "output", "item"),
        *("systemInstruction", "system_instruction", "content_block"),
    }
)
"""Members that hold such members."""
_DELTAS = ("response.output_text.delta", "response.output_text.done", "response.refusal.delta")
"""Events of OpenAI's responses whose `delta` is what is said."""


# --------------------------------------------------------------------------- requests


async def gathered(receive: Receive) -> tuple[bytes | None, Receive]:
    """The whole body of a request, and what receives the rest; None if it is too long to be held, or the client has
    gone, and then the receiver gives all of it."""
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or size > MAX_REQUEST:
            return None, _again(messages, receive)
        if not message.get("more_body"):
            return b"".join(message.get("body", b"") for message in messages), receive


def _again(messages: list[Message], receive: Receive) -> Receive:
    async def give() -> Message:
        return messages.pop(0) if messages else await receive()

    return give


def giving(body: bytes, receive: Receive) -> Receive:
    """A receiver of this body in one piece."""
    return _again([{"type": "http.request", "body": body, "more_body": False}], receive)


def changed_request(body: bytes, plugins: Sequence[ProxyPlugin]) -> tuple[bytes, list[str]]:
    """The body as it is to be sent, and the ids of the plugins that changed it."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body, []
    if not isinstance(document, dict):
        return body, []
    used = []
    for plugin in plugins:
        before = orjson.dumps(document)
        if plugin.type == "text-append":
            _append(document, plugin)
        else:
            document = _replaced(document, plugin)
        if orjson.dumps(document) != before:
            used.append(plugin.id)
    return (orjson.dumps(document) if used else body), used


def _replaced(value: Any, plugin: ProxyPlugin, *, said: bool = False) -> Any:
    if isinstance(value, str):
        return value.replace(plugin.find, plugin.replace) if said else value
    if isinstance(value, list):
        return [_replaced(item, plugin, said=said) for item in value]
    if isinstance(value, dict):
        spoken = value.get("type") in _DELTAS
        return {
            key: _replaced(item, plugin, said=key in _SAID or (spoken and key == "delta"))
            if key in _SAID or key in _HOLDING or (spoken and key == "delta")
            else item
            for key, item in value.items()
        }
    return value


def _append(document: dict[str, Any], plugin: ProxyPlugin) -> None:
    if plugin.to == "user":
        for name in ("messages", "input", "contents"):
            said = document.get(name)
            if isinstance(said, str):
                document[name] = said + plugin.text
                return
            if isinstance(said, list):
                asked = [one for one in said if isinstance(one, dict) and one.get("role", "user") == "user"]
                if asked and _append_to(asked[-1], plugin.text):
                    return
        if isinstance(document.get("prompt"), str):
            document["prompt"] += plugin.text
        return
    for name in ("system", "instructions"):
        if isinstance(document.get(name), str):
            document[name] += plugin.text
            return
    for name in ("systemInstruction", "system_instruction"):
        if isinstance(document.get(name), dict) and _append_to(document[name], plugin.text):
            return
    blocks = document.get("system")
    if isinstance(blocks, list) and _append_to({"content": blocks}, plugin.text):
        return
    messages = document.get("messages")
    for one in messages if isinstance(messages, list) else ():
        if (
            isinstance(one, dict)
            and one.get("role") in ("system", "developer")
            and _append_to(one, plugin.text)
        ):
            return


def _append_to(message: dict[str, Any], text: str) -> bool:
    """Adds to the end of the last text of a message; whether there is one."""
    for name in ("content", "parts"):
        said = message.get(name)
        if isinstance(said, str):
            message[name] = said + text
            return True
        if isinstance(said, list):
            for part in reversed(said):
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    part["text"] += text
                    return True
    return False


# --------------------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class AnswerChanges:
    """What is to be changed in the answer of one call."""

    plugins: Sequence[ProxyPlugin]
    used: list[str]
    """Gets the ids of the plugins that changed something."""


class ChangedAnswer:
    """Changes an answer as it comes. Events of a stream in which nothing is to be changed pass byte for byte; a text
    is found where it lies in one event.

    """

    def __init__(self, changes: AnswerChanges, media_type: str) -> None:
        self._plugins = changes.plugins
        self._used = changes.used
        self._is_events = media_type == "text/event-stream"
        self._is_lines = media_type.endswith(("ndjson", "jsonl", "stream+json"))
        self._held = b""
        self._given_up = False

    def feed(self, piece: bytes) -> bytes:
        """What can be sent on so far."""
        if self._given_up:
            return piece
        self._held += piece
        if len(self._held) > MAX_REQUEST:
            self._given_up = True
            return self.end()
        if not (self._is_events or self._is_lines):
            return b""
        whole, newline, self._held = self._held.rpartition(b"\n")
        return b"".join(self._line(line) for line in (whole + newline).splitlines(keepends=True))

    def end(self) -> bytes:
        """What was held back."""
        rest, self._held = self._held, b""
        if self._given_up or not rest:
            return rest
        return self._line(rest) if self._is_events or self._is_lines else self._document(rest)

    def through(self, read: Read) -> Read:
        """A reader of the changed answer; like the other one it gives b"" at the end."""
        ended = False

        async def give() -> bytes:
            nonlocal ended
            while not ended:
                piece = await read()
                ended = not piece
                if changed := self.feed(piece) if piece else self.end():
                    return changed
            return b""

        return give

    def _line(self, line: bytes) -> bytes:
        field, data = (b"data:", line[5:]) if self._is_events else (b"", line)
        if not line.startswith(field) or not data.strip().startswith(b"{"):
            return line
        stripped = data.strip()
        start = data.index(stripped)
        return field + data[:start] + self._document(stripped) + data[start + len(stripped) :]

    def _document(self, body: bytes) -> bytes:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body
        if not isinstance(document, dict):
            return body
        used = []
        for plugin in self._plugins:
            changed = _replaced(document, plugin)
            if changed != document:
                document = changed
                used.append(plugin.id)
        self._used.extend(id_ for id_ in used if id_ not in self._used)
        return orjson.dumps(document) if used else body
