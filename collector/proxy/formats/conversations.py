"""Mistral's Conversations API: agents and models with a history that Mistral keeps; an answer is a list of entries.

Entries and events: the schema of Mistral's SDK (`ConversationResponse`, `ConversationEvents`). The path says too
little, other providers have conversations that are no calls: it is known by what was asked and answered.
"""

from __future__ import annotations

from typing import Any

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Assembling,
    Document,
    Message,
    Part,
    Usage,
    added,
    call_part,
    count,
    error_of,
    generic_part,
    mapped,
    mappings,
    result_part,
    string,
    text_part,
)
from collector.proxy.formats.chat import read_content, read_usage, request_parameters, tool_names

ANSWER = "conversation.response"
_SEARCHES = frozenset({"web_search", "web_search_premium"})
_SAID = frozenset({"message.output.delta", "function.call.delta"})


class Conversations:
    api = "conversations"

    def asked(self, body: Document, path: str) -> Asked:
        given = body.get("inputs")
        entries = [{"type": "message.input", "content": given}] if isinstance(given, str) else mappings(given)
        found = request_parameters({**mapped(body.get("completion_args")), "agent_id": body.get("agent_id")})
        instructions = body.get("instructions")
        return Asked(
            "chat",
            string(body.get("model")),
            body.get("stream") is True,
            found,
            [text_part(instructions)] if isinstance(instructions, str) and instructions else [],
            _messages(entries),
            tool_names(body.get("tools")),
            conversation=_conversation(path),
        )

    def answered(self, document: Document) -> Answered:
        entries = mappings(document.get("outputs"))
        error_type, error_message = error_of(document)
        messages = _messages(entries)
        parts = [part for message in messages for part in message["parts"]]
        called = any(part["type"] == "tool_call" for part in parts)
        reason = "error" if error_type else "tool_call" if called else "stop" if parts else ""
        usage = _read_usage(mapped(document.get("usage")))
        usage.web_searches = _searches(document, entries)
        named = next((entry for entry in reversed(entries) if entry.get("model")), {})
        return Answered(
            string(next((entry["id"] for entry in reversed(entries) if entry.get("id")), "")),
            string(named.get("model")),
            [reason] if reason else [],
            [{"role": "assistant", "parts": parts, "finish_reason": reason}] if parts else [],
            usage,
            error_type,
            error_message,
            conversation=string(document.get("conversation_id")),
        )

    def assembler(self) -> Assembler:
        return _Assembler()


def _conversation(path: str) -> str:
    """`…/conversations/{id}`, and `/restart` of it, which begins a conversation of its own."""
    rest = path.rpartition("/conversations/")[2] if "/conversations/" in path else ""
    return rest if "/" not in rest else ""


def _messages(entries: list[Document]) -> list[Message]:
    messages: list[Message] = []
    for entry in entries:
        role, parts = _read(entry)
        if messages and messages[-1]["role"] == role != "user":
            messages[-1]["parts"] += parts
        elif parts:
            messages.append({"role": role, "parts": parts})
    return messages


def _read(entry: Document) -> tuple[str, list[Part]]:
    match string(entry.get("type")):
        case "message.input":
            return string(entry.get("role")) or "user", read_content(entry.get("content"))
        case "message.output":
            return "assistant", read_content(entry.get("content"))
        case "function.call":
            return "assistant", [
                call_part(entry.get("tool_call_id"), entry.get("name"), entry.get("arguments"))
            ]
        case "function.result":
            return "tool", [result_part(entry.get("tool_call_id"), entry.get("result"))]
        case "tool.execution":
            called = call_part(entry.get("id"), entry.get("name"), entry.get("arguments"), "server_tool_call")
            if not entry.get("info"):
                return "assistant", [called]
            result = result_part(entry.get("id"), entry["info"], type_="server_tool_call_response")
            return "assistant", [called, result]
    return "assistant", [generic_part(entry)]


def _read_usage(given: Document) -> Usage:
    """What connectors gave the model to read stands beside the prompt, where the total says so."""
    usage = read_usage(given)
    read = count(given.get("connector_tokens"))
    if read and count(given.get("total_tokens")) == added(usage.input, usage.output, read):
        usage.input = added(usage.input, read)
    return usage


def _searches(document: Document, entries: list[Document]) -> int | None:
    """Searches of the web, as the usage counts them by connector, else as they stand in the answer."""
    told = [
        number
        for name, value in mapped(mapped(document.get("usage")).get("connectors")).items()
        if name in _SEARCHES and (number := count(value)) is not None
    ]
    if told:
        return sum(told)
    made = [
        entry for entry in entries if entry.get("type") == "tool.execution" and entry.get("name") in _SEARCHES
    ]
    return len(made) or None


class _Assembler(Assembling):
    def __init__(self) -> None:
        super().__init__()
        self._document: Document = {}
        self._entries: dict[tuple[int, str], Document] = {}
        """By place and id, in the order in which they began."""

    @property
    def document(self) -> Document:
        entries = []
        for entry in self._entries.values():
            if entry["type"] == "message.output":
                entry = {**entry, "content": _joined(entry["content"])}
            entries.append(entry)
        return {**self._document, "outputs": entries}

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        kind = string(data.get("type")) or name
        if kind.startswith(ANSWER):
            self._head(kind, data)
            return False
        entry_id = string(data.get("id"))
        key = (count(data.get("output_index")) or 0, entry_id)
        if kind == "message.output.delta":
            entry = self._entries.setdefault(key, {**data, "type": "message.output", "content": []})
            content = data.get("content")
            entry["content"].append(content)
            return bool(content)
        if kind == "function.call.delta":
            entry = self._entries.setdefault(key, {**data, "type": "function.call", "arguments": ""})
            entry["arguments"] += string(data.get("arguments"))
            self._ended[string(data.get("tool_call_id"))] = at_ns
            return True
        if kind.startswith("tool.execution."):
            entry = self._entries.setdefault(key, {**data, "type": "tool.execution", "arguments": ""})
            entry["arguments"] += string(data.get("arguments"))
            if data.get("info"):
                entry["info"] = data["info"]
            (self._ran_until if kind.endswith(".done") else self._ran_from).setdefault(entry_id, at_ns)
            self._ended[entry_id] = at_ns
        elif kind.startswith("agent.handoff"):
            known = self._entries.get(key, {})
            self._entries[key] = {**known, **data, "type": "agent.handoff"}
        return False

    def _head(self, kind: str, data: Document) -> None:
        for member in ("conversation_id", "usage"):
            if data.get(member):
                self._document[member] = data[member]
        if kind.endswith(".error"):
            self._document["error"] = {
                "type": string(data.get("code")),
                "message": string(data.get("message")),
            }
        self.finished = self.finished or kind.endswith((".done", ".error"))


def _joined(pieces: list[Any]) -> Any:
    """What a message says: one text, or blocks where some of it is none."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    blocks: list[Any] = []
    for piece in pieces:
        text = piece if isinstance(piece, str) else mapped(piece).get("text")
        last = blocks[-1] if blocks else None
        if isinstance(text, str) and isinstance(last, dict) and last.get("type") == "text":
            last["text"] += text
        else:
            blocks.append({"type": "text", "text": text} if isinstance(text, str) else piece)
    return blocks
