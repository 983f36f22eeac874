"""Anthropic Messages and its token counting, also at Vertex (`rawPredict`).

Stream grammar and usage: Anthropic API reference, "Streaming messages". `input_tokens` leaves cache reads and writes
out; the usage of `message_delta` is cumulative and may repeat what `message_start` said, so for each field the last
one that is not null counts.
"""

from __future__ import annotations

from typing import Any

import orjson

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
    listed,
    mapped,
    mappings,
    media_part,
    parameters,
    reasoning_part,
    result_part,
    searches_in,
    string,
    text_part,
    uri_part,
)
from collector.proxy.formats.chat import tool_names
from collector.proxy.formats.counting import CountTokens

_PARAMETERS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "stop_sequences": "gen_ai.request.stop_sequences",
    "service_tier": "anthropic.request.service_tier",
}
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "refusal": "content_filter",
}


class Messages:
    api = "messages"

    def asked(self, body: Document, path: str) -> Asked:
        found = parameters(body, _PARAMETERS)
        effort = mapped(body.get("output_config")).get("effort")
        if isinstance(effort, str):
            found["gen_ai.request.reasoning.level"] = effort
        thinking = mapped(body.get("thinking"))
        if thinking.get("type"):
            found["anthropic.thinking.type"] = string(thinking["type"])
            if isinstance(thinking.get("budget_tokens"), int):
                found["anthropic.thinking.budget_tokens"] = thinking["budget_tokens"]
        user = mapped(body.get("metadata")).get("user_id")
        if isinstance(user, str) and len(user) <= 256:
            found["user.id"] = user
        return Asked(
            "chat",
            string(body.get("model")) or _model_in(path),
            body.get("stream") is True or path.endswith(":streamRawPredict"),
            found,
            read_blocks(body.get("system")),
            [read_message(message) for message in mappings(body.get("messages"))],
            tool_names(body.get("tools")),
            string(mapped(body.get("thread")).get("id") if isinstance(body.get("thread"), dict) else ""),
        )

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        reason = string(document.get("stop_reason"))
        message = read_message(document) if document.get("content") is not None else None
        if message is not None:
            message["finish_reason"] = _FINISH.get(reason, reason)
        attributes: dict[str, Any] = {}
        if reason:
            attributes["anthropic.message.stop_reason"] = reason
        usage = mapped(document.get("usage"))
        split = mapped(usage.get("cache_creation"))
        for life in ("5m", "1h"):
            written = count(split.get(f"ephemeral_{life}_input_tokens"))
            if written is not None:
                attributes[f"anthropic.usage.cache_creation.ephemeral_{life}_input_tokens"] = written
        for name in ("service_tier", "speed"):
            if isinstance(usage.get(name), str):
                attributes[f"anthropic.response.{name}"] = usage[name]
        if any(block.get("type") == "compaction" for block in mappings(document.get("content"))):
            attributes["gen_ai.conversation.compacted"] = True
        return Answered(
            string(document.get("id")),
            string(document.get("model")),
            [_FINISH.get(reason, reason)] if reason else [],
            [message] if message is not None else [],
            read_usage(usage),
            error_type,
            error_message,
            attributes,
        )

    def assembler(self) -> Assembler | None:
        return _Assembler()


def _model_in(path: str) -> str:
    return path.rpartition("/models/")[2].partition(":")[0]


def read_message(message: Document) -> Message:
    return {"role": string(message.get("role")) or "assistant", "parts": read_blocks(message.get("content"))}


def read_blocks(content: Any) -> list[Part]:
    if isinstance(content, str):
        return [text_part(content)] if content else []
    return [_read_block(block) if isinstance(block, dict) else text_part(block) for block in listed(content)]


def _read_block(block: Document) -> Part:
    kind = string(block.get("type"))
    match kind:
        case "text":
            return text_part(block.get("text"))
        case "thinking":
            return reasoning_part(block.get("thinking"))
        case "redacted_thinking":
            return {"type": "reasoning", "content": "", "encrypted": True}
        case "tool_use":
            return call_part(block.get("id"), block.get("name"), block.get("input"))
        case "server_tool_use" | "mcp_tool_use":
            return call_part(block.get("id"), block.get("name"), block.get("input"), "server_tool_call")
        case "tool_result":
            return result_part(
                block.get("tool_use_id"), _result(block.get("content")), failed=block.get("is_error") is True
            )
        case "image" | "document":
            return _read_media(kind, mapped(block.get("source")))
    if kind.endswith("_tool_result"):
        content = block.get("content")
        failed = block.get("is_error") is True or string(mapped(content).get("type")).endswith("_error")
        return result_part(
            block.get("tool_use_id"), _result(content), failed=failed, type_="server_tool_call_response"
        )
    return generic_part(block)


def _read_media(kind: str, source: Document) -> Part:
    modality = "image" if kind == "image" else "document"
    if source.get("type") == "base64":
        return media_part(modality, source.get("media_type"), source.get("data"))
    if source.get("type") == "url":
        return uri_part(modality, source.get("url"))
    if source.get("type") == "text":
        return text_part(source.get("data"))
    return {"type": "file", "modality": modality, "file_id": string(source.get("file_id"))}


def _result(content: Any) -> Any:
    if isinstance(content, list):
        parts = read_blocks(content)
        if all(part["type"] == "text" for part in parts):
            return "\n".join(part["content"] for part in parts)
        return parts
    return content


def read_usage(usage: Document) -> Usage:
    read = count(usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    fresh = count(usage.get("input_tokens"))
    return Usage(
        added(fresh, read, written),
        count(usage.get("output_tokens")),
        read,
        written,
        count(mapped(usage.get("output_tokens_details")).get("thinking_tokens")),
        web_searches=searches_in(usage),
    )


class _Assembler(Assembling):
    def __init__(self) -> None:
        super().__init__()
        self._message: Document = {}
        self._blocks: dict[int, Document] = {}
        self._texts: dict[tuple[int, str], list[str]] = {}

    @property
    def document(self) -> Document:
        if not self._message and not self._blocks:
            return self._message
        return {**self._message, "content": [self._whole(index) for index in sorted(self._blocks)]}

    def _whole(self, index: int) -> Document:
        block = dict(self._blocks[index])
        for (of, member), texts in self._texts.items():
            if of != index:
                continue
            text = "".join(texts)
            if member != "input":
                block[member] = string(block.get(member)) + text
            elif text:
                try:
                    block["input"] = orjson.loads(text)
                except orjson.JSONDecodeError:
                    block["input"] = text
        return block

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        index = count(data.get("index")) or 0
        match string(data.get("type")) or name:
            case "message_start":
                self._message = {**mapped(data.get("message")), "content": []}
            case "content_block_start":
                block = mapped(data.get("content_block"))
                self._blocks[index] = block
                self._note_call(block, at_ns)
                if string(block.get("type")).endswith("_tool_result"):
                    self._ran_until[string(block.get("tool_use_id"))] = at_ns
                return bool(block.get("text") or block.get("thinking"))
            case "content_block_delta":
                return self._add(index, mapped(data.get("delta")), at_ns)
            case "content_block_stop":
                self._note_call(self._blocks.get(index, {}), at_ns)
            case "message_delta":
                for key, value in mapped(data.get("delta")).items():
                    if value is not None:
                        self._message[key] = value
                usage = dict(mapped(self._message.get("usage")))
                usage |= {key: value for key, value in mapped(data.get("usage")).items() if value is not None}
                self._message["usage"] = usage
            case "message_stop":
                self.finished = True
            case "error":
                self._message["error"] = data.get("error") or {"type": "error"}
                self.finished = True
        return False

    def _note_call(self, block: Document, at_ns: int) -> None:
        kind = string(block.get("type"))
        if kind.endswith("tool_use") and block.get("id"):
            self._ended[string(block["id"])] = at_ns
            if kind != "tool_use":
                self._ran_from[string(block["id"])] = at_ns

    def _add(self, index: int, delta: Document, at_ns: int) -> bool:
        for kind, member, key in (
            ("text_delta", "text", "text"),
            ("thinking_delta", "thinking", "thinking"),
            ("input_json_delta", "input", "partial_json"),
        ):
            if delta.get("type") == kind and isinstance(delta.get(key), str):
                self._blocks.setdefault(index, {"type": kind.removesuffix("_delta")})
                self._texts.setdefault((index, member), []).append(delta[key])
                if member == "input":
                    self._note_call(self._blocks[index], at_ns)
                return bool(delta[key])
        return False


count_tokens = CountTokens(
    lambda body, path: string(body.get("model")),
    "input_tokens",
    "anthropic.message.count_tokens.input_tokens",
)
