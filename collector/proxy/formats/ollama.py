"""Ollama's own API: JSON lines, streamed unless the request says no; the last line has the counts.

`prompt_eval_count` is left out when the prompt was cached: then the input is unknown, not zero.
"""

from __future__ import annotations

from typing import Any

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Document,
    Message,
    Part,
    Usage,
    call_part,
    count,
    error_of,
    listed,
    mapped,
    mappings,
    media_part,
    parameters,
    reasoning_part,
    result_part,
    string,
    text_part,
)
from collector.proxy.formats.chat import tool_names

_PARAMETERS = {
    "num_predict": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "stop": "gen_ai.request.stop_sequences",
    "seed": "gen_ai.request.seed",
}


class OllamaChat:
    api = "ollama_chat"

    def asked(self, body: Document, path: str) -> Asked:
        asked = _asked("chat", body)
        messages = mappings(body.get("messages"))
        asked.messages = [_read_message(message, index) for index, message in enumerate(messages)]
        asked.tools = tool_names(body.get("tools"))
        return asked

    def answered(self, document: Document) -> Answered:
        message = _read_message(mapped(document.get("message")), 0, string(document.get("created_at")))
        return _answered(document, message)

    def assembler(self) -> Assembler | None:
        return _Assembler("message")


class OllamaGenerate:
    api = "ollama_generate"

    def asked(self, body: Document, path: str) -> Asked:
        asked = _asked("text_completion", body)
        if isinstance(body.get("system"), str) and body["system"]:
            asked.system = [text_part(body["system"])]
        asked.messages = [{"role": "user", "parts": [text_part(body.get("prompt") or ""), *_images(body)]}]
        return asked

    def answered(self, document: Document) -> Answered:
        parts: list[Part] = []
        if document.get("thinking"):
            parts.append(reasoning_part(document["thinking"]))
        if document.get("response"):
            parts.append(text_part(document["response"]))
        return _answered(document, {"role": "assistant", "parts": parts})

    def assembler(self) -> Assembler | None:
        return _Assembler("")


class OllamaEmbed:
    api = "ollama_embed"

    def asked(self, body: Document, path: str) -> Asked:
        given = body.get("input", body.get("prompt"))
        texts = [given] if isinstance(given, str) else listed(given)
        messages: list[Message] = [{"role": "user", "parts": [text_part(text)]} for text in texts]
        return Asked("embeddings", string(body.get("model")), messages=messages)

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        usage = Usage(count(document.get("prompt_eval_count")))
        return Answered(
            "", string(document.get("model")), usage=usage, error_type=error_type, error_message=error_message
        )

    def assembler(self) -> Assembler | None:
        return None


def _asked(operation: str, body: Document) -> Asked:
    found = parameters(mapped(body.get("options")), _PARAMETERS)
    if body.get("format"):
        found["gen_ai.output.type"] = "json"
    return Asked(operation, string(body.get("model")), body.get("stream", True) is not False, found)


def _answered(document: Document, message: Message) -> Answered:
    error_type, error_message = error_of(document)
    reason = string(document.get("done_reason"))
    if reason == "stop" and any(part["type"] == "tool_call" for part in message["parts"]):
        reason = "tool_call"
    message["finish_reason"] = reason
    attributes = {}
    if (load := count(document.get("load_duration"))) is not None:
        attributes["eddyline.proxy.load_ms"] = load / 1e6
    return Answered(
        "",
        string(document.get("model")),
        [reason] if reason else [],
        [message] if message["parts"] else [],
        Usage(count(document.get("prompt_eval_count")), count(document.get("eval_count"))),
        error_type,
        error_message,
        attributes,
    )


def _read_message(message: Document, place: int, stamp: str = "") -> Message:
    role = string(message.get("role")) or "assistant"
    if role == "tool":
        name = message.get("tool_name") or message.get("name")
        return {
            "role": "tool",
            "parts": [result_part(message.get("tool_call_id"), message.get("content"), name=name)],
        }
    parts: list[Part] = []
    if message.get("thinking"):
        parts.append(reasoning_part(message["thinking"]))
    if message.get("content"):
        parts.append(text_part(message["content"]))
    parts += _images(message)
    for number, made in enumerate(mappings(message.get("tool_calls"))):
        function = mapped(made.get("function"))
        identity = made.get("id") or function.get("id") or (f"{stamp}:{number}" if stamp else "")
        parts.append(call_part(identity, function.get("name"), function.get("arguments")))
    return {"role": role, "parts": parts}


def _images(holder: Document) -> list[Part]:
    return [media_part("image", "", image) for image in listed(holder.get("images"))]


class _Assembler:
    """`holder`: the member in which texts grow; "" for the line itself."""

    def __init__(self, holder: str) -> None:
        self.finished = False
        self._holder = holder
        self._line: Document = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: list[Any] = []
        self._role = "assistant"
        self._last_ns = 0

    @property
    def document(self) -> Document:
        texts: Document = {name: "".join(pieces) for name, pieces in self._texts.items()}
        if not self._holder:
            return {**self._line, **texts}
        if self._calls:
            texts["tool_calls"] = self._calls
        return {**self._line, self._holder: {"role": self._role, **texts}} if self._line else {}

    def call_ended_ns(self, call_id: str) -> int | None:
        return self._last_ns or None

    def ran_ns(self, call_id: str) -> tuple[int, int] | None:
        return None

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        begun = self._line.get("created_at") or data.get("created_at")
        self._line = {**data, "created_at": begun}
        self.finished = data.get("done") is True or "error" in data
        holder = mapped(data.get(self._holder)) if self._holder else data
        if self._holder and holder.get("role"):
            self._role = string(holder["role"])
        said = False
        for member in ("content", "thinking", "response"):
            if isinstance(holder.get(member), str) and holder[member]:
                self._texts.setdefault(member, []).append(holder[member])
                said = True
        if calls := listed(holder.get("tool_calls")):
            self._calls += calls
            self._last_ns = at_ns
            said = True
        return said
