"""LM Studio's own chat, version 1: it runs the tools itself, and remembers the conversation if it may.

Version 0 is OpenAI's API with `stats` beside it. The event that ends a stream (`chat.end`) carries the whole answer; an
error in a stream does not end it. Names: LM Studio's developer documentation, "REST API", "Streaming events".
"""

from __future__ import annotations

from typing import Any

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Assembling,
    Document,
    Part,
    Usage,
    call_part,
    count,
    error_of,
    listed,
    mapped,
    mappings,
    parameters,
    reasoning_part,
    result_part,
    string,
    text_part,
    uri_part,
)
from collector.proxy.formats.stats import stats_in

_PARAMETERS = {
    "max_output_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "reasoning": "gen_ai.request.reasoning.level",
    "previous_response_id": "gen_ai.request.previous_response.id",
}


class LmStudioChat:
    api = "lmstudio_chat"

    def asked(self, body: Document, path: str) -> Asked:
        given = body.get("input")
        parts = (
            [text_part(given)] if isinstance(given, str) else [_read_input(one) for one in mappings(given)]
        )
        system = body.get("system_prompt")
        return Asked(
            "chat",
            string(body.get("model")),
            body.get("stream") is True,
            parameters(body, _PARAMETERS),
            [text_part(system)] if isinstance(system, str) and system else [],
            [{"role": "user", "parts": parts}] if parts else [],
            [_integration(one) for one in listed(body.get("integrations"))],
            string(body.get("thread_id")),
            string(body.get("previous_response_id")),
        )

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        response_id = string(document.get("response_id"))
        parts: list[Part] = []
        calls = 0
        for item in mappings(document.get("output")):
            if string(item.get("type")).endswith("tool_call"):
                parts += _read_call(item, f"{response_id}:{calls}" if response_id else "")
                calls += 1
            elif item.get("type") == "reasoning":
                parts.append(reasoning_part(item.get("content")))
            elif item.get("content"):
                parts.append(text_part(item["content"]))
        stats = mapped(document.get("stats"))
        return Answered(
            response_id,
            string(document.get("model_instance_id")),
            messages=[{"role": "assistant", "parts": parts}] if parts else [],
            usage=Usage(
                count(stats.get("input_tokens")),
                count(stats.get("total_output_tokens")),
                reasoning=count(stats.get("reasoning_output_tokens")),
            ),
            error_type=error_type,
            error_message=error_message,
            attributes=stats_in(document),
        )

    def assembler(self) -> Assembler:
        return _Assembler()


def _read_input(item: Document) -> Part:
    return (
        uri_part("image", item["data_url"]) if item.get("data_url") else text_part(item.get("content") or "")
    )


def _integration(value: Any) -> Document:
    """A server of tools, by what it is called; an id alone stands for a plugin."""
    named = mapped(value)
    name = value if isinstance(value, str) else named.get("id") or named.get("server_label")
    return {"type": string(named.get("type")) or "plugin", "name": string(name)}


def _read_call(item: Document, identity: str) -> list[Part]:
    """A tool that the server ran, and what came of it."""
    told = mapped(item.get("metadata"))
    name, arguments = item.get("tool") or told.get("tool_name"), item.get("arguments", told.get("arguments"))
    made = call_part(identity, name, arguments, "server_tool_call")
    failed = item.get("type") == "invalid_tool_call"
    result = item.get("reason") if failed else item.get("output")
    if result is None:
        return [made]
    return [made, result_part(identity, result, failed=failed, type_="server_tool_call_response")]


class _Assembler(Assembling):
    """Calls have no ids until the answer has one: times are kept by their place."""

    def __init__(self) -> None:
        super().__init__()
        self._result: Document = {}
        self._items: list[Document] = []
        self._calls = 0
        self._error: Any = None

    @property
    def document(self) -> Document:
        output = [
            {**item, "content": "".join(item["content"])} if "content" in item else item
            for item in self._items
        ]
        found = self._result if listed(self._result.get("output")) else {**self._result, "output": output}
        return found if self._error is None else {**found, "error": self._error}

    def call_ended_ns(self, call_id: str) -> int | None:
        return super().call_ended_ns(call_id.rpartition(":")[2])

    def ran_ns(self, call_id: str) -> tuple[int, int] | None:
        return super().ran_ns(call_id.rpartition(":")[2])

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        kind, _, step = (string(data.get("type")) or name).partition(".")
        match kind, step:
            case "chat", "start":
                self._result["model_instance_id"] = data.get("model_instance_id")
            case "chat", "end":
                self._result |= mapped(data.get("result"))
                self.finished = True
            case "error", _:
                self._error = data.get("error") or {"type": "error"}
                self.finished = True
            case "message" | "reasoning", "start":
                self._items.append({"type": kind, "content": []})
            case "message" | "reasoning", "delta" if isinstance(data.get("content"), str):
                return self._say(kind, data["content"])
            case "tool_call", _:
                return self._note_call(step, data, at_ns)
        return False

    def _say(self, kind: str, text: str) -> bool:
        if not self._items or self._items[-1]["type"] != kind:
            self._items.append({"type": kind, "content": []})
        self._items[-1]["content"].append(text)
        return bool(text)

    def _note_call(self, step: str, data: Document, at_ns: int) -> bool:
        place = str(self._calls)
        if step == "arguments":
            self._ended[place] = self._ran_from[place] = at_ns
        elif step in ("success", "failure"):
            self._ran_until[place] = at_ns
            self._calls += 1
            self._items.append({**data, "type": "tool_call" if step == "success" else "invalid_tool_call"})
        return step == "arguments"
