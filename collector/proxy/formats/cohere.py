"""Cohere's own API, version 2: chat, embeddings, reranking."""

from __future__ import annotations

from typing import Any

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Assembling,
    Document,
    Message,
    Usage,
    count,
    error_of,
    listed,
    mapped,
    mappings,
    parameters,
    reasoning_part,
    string,
    text_part,
)
from collector.proxy.formats.chat import read_message, tool_names

_PARAMETERS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "p": "gen_ai.request.top_p",
    "k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "stop_sequences": "gen_ai.request.stop_sequences",
    "seed": "gen_ai.request.seed",
}
_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_call",
    "ERROR": "error",
}


class CohereChat:
    api = "cohere_chat"

    def asked(self, body: Document, path: str) -> Asked:
        messages: list[Message] = [read_message(message) for message in mappings(body.get("messages"))]
        if isinstance(body.get("message"), str):  # version 1
            messages.append({"role": "user", "parts": [text_part(body["message"])]})
        return Asked(
            "chat",
            string(body.get("model")),
            body.get("stream") is True,
            parameters(body, _PARAMETERS),
            messages=messages,
            tools=tool_names(body.get("tools")),
        )

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document) if "finish_reason" not in document else ("", "")
        reason = string(document.get("finish_reason"))
        said = mapped(document.get("message"))
        message = read_message({**said, "role": "assistant"})
        thinking = [block for block in mappings(said.get("content")) if block.get("type") == "thinking"]
        message["parts"] = [reasoning_part(block.get("thinking")) for block in thinking] + [
            part for part in message["parts"] if part["type"] != "thinking"
        ]
        if said.get("tool_plan"):
            message["parts"].insert(0, text_part(said["tool_plan"]))
        if isinstance(document.get("text"), str):
            message["parts"].append(text_part(document["text"]))
        message["finish_reason"] = _FINISH.get(reason, reason.lower())
        return Answered(
            string(document.get("id") or document.get("generation_id")),
            "",
            [message["finish_reason"]] if reason else [],
            [message] if message["parts"] else [],
            read_usage(document),
            error_type,
            error_message,
        )

    def assembler(self) -> Assembler | None:
        return _Assembler()


class CohereEmbed:
    api = "cohere_embed"

    def asked(self, body: Document, path: str) -> Asked:
        messages: list[Message] = [
            {"role": "user", "parts": [text_part(text)]} for text in listed(body.get("texts"))
        ]
        return Asked("embeddings", string(body.get("model")), messages=messages)

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        return Answered(
            string(document.get("id")),
            usage=read_usage(document),
            error_type=error_type,
            error_message=error_message,
        )

    def assembler(self) -> Assembler | None:
        return None


class Rerank(CohereEmbed):
    api = "rerank"

    def asked(self, body: Document, path: str) -> Asked:
        return Asked(
            "rerank",
            string(body.get("model")),
            messages=[{"role": "user", "parts": [text_part(body.get("query") or "")]}],
        )


def read_usage(document: Document) -> Usage:
    """Counted tokens, which are what the model read and wrote; billed ones leave some out. Others who rerank (Voyage,
    Jina) tell the total alone."""
    holder = mapped(document.get("usage")) or mapped(document.get("meta"))
    tokens = mapped(holder.get("tokens")) or mapped(holder.get("billed_units"))
    return Usage(
        count(tokens.get("input_tokens", holder.get("total_tokens"))),
        count(tokens.get("output_tokens")),
        count(holder.get("cached_tokens")),
    )


class _Assembler(Assembling):
    """Events of version 2: `content-delta`, `tool-call-start`, …, `message-end`; of version 1, whose last one has all
    of the answer: `text-generation`, …, `stream-end`."""

    def __init__(self) -> None:
        super().__init__()
        self._document: Document = {}
        self._texts: dict[tuple[int, str], list[str]] = {}
        self._plan: list[str] = []
        self._calls: dict[int, Document] = {}

    @property
    def document(self) -> Document:
        content = [
            {"type": kind, kind: "".join(texts)}
            for (_, kind), texts in sorted(self._texts.items(), key=lambda entry: entry[0])
        ]
        calls = [
            {**made, "function": {**made["function"], "arguments": "".join(made["function"]["arguments"])}}
            for made in self._calls.values()
        ]
        message = {
            "role": "assistant",
            "content": content,
            "tool_calls": calls,
            "tool_plan": "".join(self._plan),
        }
        return {**self._document, "message": message}

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        if "event_type" in data:
            return self._first_version(string(data["event_type"]), data)
        index = count(data.get("index")) or 0
        delta = mapped(data.get("delta"))
        said = mapped(delta.get("message"))
        match string(data.get("type")) or name:
            case "message-start":
                self._document["id"] = data.get("id")
            case "content-start" | "content-delta":
                content = mapped(said.get("content"))
                for kind in ("text", "thinking"):
                    if isinstance(content.get(kind), str) and content[kind]:
                        self._texts.setdefault((index, kind), []).append(content[kind])
                        return True
            case "tool-plan-delta":
                self._plan.append(string(said.get("tool_plan")))
                return True
            case "tool-call-start" | "tool-call-delta":
                made = mapped(said.get("tool_calls"))
                function = mapped(made.get("function"))
                known = self._calls.setdefault(
                    index, {"id": "", "type": "function", "function": {"name": "", "arguments": []}}
                )
                known["id"] = string(made.get("id")) or known["id"]
                known["function"]["name"] = string(function.get("name")) or known["function"]["name"]
                known["function"]["arguments"].append(string(function.get("arguments")))
                self._ended[known["id"]] = at_ns
                return True
            case "message-end":
                self.finished = True
                self._document["finish_reason"] = delta.get("finish_reason")
                self._document["usage"] = delta.get("usage")
                if delta.get("error"):
                    self._document["error"] = delta["error"]
        return False

    def _first_version(self, kind: str, data: Document) -> bool:
        if kind == "stream-end":
            self.finished = True
            self._document = mapped(data.get("response")) or self._document
            if "finish_reason" in data:
                self._document = {"finish_reason": data["finish_reason"], **self._document}
            return False
        if data.get("generation_id"):
            self._document["generation_id"] = data["generation_id"]
        if kind == "text-generation":
            self._document["text"] = string(self._document.get("text")) + string(data.get("text"))
        return kind == "text-generation"
