"""Bedrock's Converse, which Nova's own API shares the blocks of: one request and answer for all models.

Amazon Bedrock API reference, `Converse` and `ConverseStream`. `inputTokens` leaves cache reads and writes out. The
answer names no model and has no id: the model is in the path.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

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
    string,
    text_part,
)
from collector.proxy.formats.counting import CountTokens
from collector.proxy.framing import EXCEPTION

_PARAMETERS = {
    "maxTokens": "gen_ai.request.max_tokens",
    "max_new_tokens": "gen_ai.request.max_tokens",  # Nova
    "temperature": "gen_ai.request.temperature",
    "topP": "gen_ai.request.top_p",
    "top_p": "gen_ai.request.top_p",
    "topK": "gen_ai.request.top_k",
    "top_k": "gen_ai.request.top_k",
    "stopSequences": "gen_ai.request.stop_sequences",
}
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
_MEDIA = {"image": "image", "document": "document", "video": "video", "audio": "audio"}


class Converse:
    api = "converse"

    def asked(self, body: Document, path: str) -> Asked:
        found = parameters(mapped(body.get("inferenceConfig")), _PARAMETERS)
        tools = [
            {"type": "function", "name": string(mapped(tool["toolSpec"]).get("name"))}
            for tool in mappings(mapped(body.get("toolConfig")).get("tools"))
            if "toolSpec" in tool
        ]
        return Asked(
            "chat",
            model_in(path),
            path.endswith("-stream"),
            found,
            _read_blocks(body.get("system")),
            [read_message(message) for message in mappings(body.get("messages"))],
            tools,
        )

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        reason = string(document.get("stopReason"))
        reason = _FINISH.get(reason, reason)
        messages = []
        if isinstance(said := mapped(document.get("output")).get("message"), dict):
            messages = [{**read_message(said), "finish_reason": reason}]
        return Answered(
            "",
            "",
            [reason] if reason else [],
            messages,
            read_usage(document.get("usage")),
            error_type,
            error_message,
        )

    def assembler(self) -> Assembler | None:
        return ConverseAssembler()


def model_in(path: str) -> str:
    """The model of `/model/{id}/…`, of which an ARN's last part; profiles of one's own have no other name."""
    found = unquote(path.rpartition("/model/")[2].rpartition("/")[0])
    _, is_named, name = found.rpartition("/") if found.startswith("arn:") else ("", "", "")
    return name if is_named and ":application-inference-profile/" not in found else found


def read_message(message: Document) -> Message:
    parts = _read_blocks(message.get("content"))
    return {"role": string(message.get("role")) or "assistant", "parts": parts}


def _read_blocks(content: Any) -> list[Part]:
    if isinstance(content, str):
        return [text_part(content)] if content else []
    blocks = [block for block in mappings(content) if set(block) != {"cachePoint"}]
    return [_read_block(block) for block in blocks]


def _read_block(block: Document) -> Part:
    if isinstance(block.get("text"), str):
        return text_part(block["text"])
    kind = next(iter(block), "")
    value = mapped(block.get(kind))
    match kind:
        case "toolUse":
            on_server = value.get("type") == "server_tool_use"
            type_ = "server_tool_call" if on_server else "tool_call"
            return call_part(value.get("toolUseId"), value.get("name"), value.get("input"), type_)
        case "toolResult":
            on_server = string(value.get("type")).endswith("_tool_result")
            return result_part(
                value.get("toolUseId"),
                _result(value.get("content")),
                failed=value.get("status") == "error",
                type_="server_tool_call_response" if on_server else "tool_call_response",
            )
        case "reasoningContent":
            if "redactedContent" in value:
                return {"type": "reasoning", "content": "", "encrypted": True}
            return reasoning_part(mapped(value.get("reasoningText")).get("text"))
        case "guardContent":
            return text_part(mapped(value.get("text")).get("text") or "")
        case "citationsContent":
            return text_part("".join(string(said.get("text")) for said in mappings(value.get("content"))))
        case "image" | "document" | "video" | "audio":
            return _read_media(_MEDIA[kind], value)
    return generic_part({"type": kind, **value})


def _read_media(modality: str, value: Document) -> Part:
    source = mapped(value.get("source"))
    media_type = f"{modality if modality != 'document' else 'application'}/{string(value.get('format'))}"
    if "s3Location" in source:
        uri = string(mapped(source["s3Location"]).get("uri"))
        return {"type": "uri", "modality": modality, "uri": uri[:2048]}
    if isinstance(source.get("text"), str):
        return text_part(source["text"])
    return media_part(modality, media_type, source.get("bytes"))


def _result(content: Any) -> Any:
    """Of one JSON block the document, of texts their lines, else the parts."""
    blocks = mappings(content)
    if len(blocks) == 1 and "json" in blocks[0]:
        return blocks[0]["json"]
    if blocks and all(isinstance(block.get("text"), str) for block in blocks):
        return "\n".join(block["text"] for block in blocks)
    return [block["json"] if "json" in block else _read_block(block) for block in blocks] or listed(content)


def read_usage(value: Any) -> Usage:
    usage = mapped(value)
    read = count(usage.get("cacheReadInputTokens", usage.get("cacheReadInputTokenCount")))
    written = count(usage.get("cacheWriteInputTokens", usage.get("cacheWriteInputTokenCount")))
    return Usage(
        added(count(usage.get("inputTokens")), read, written), count(usage.get("outputTokens")), read, written
    )


class ConverseAssembler(Assembling):
    """Events have a name of their own (`contentBlockDelta`), or are documents with it as their only key (Nova)."""

    def __init__(self) -> None:
        super().__init__()
        self._document: Document = {}
        self._role = ""
        self._blocks: dict[int, Document] = {}
        self._texts: dict[tuple[int, str], list[str]] = {}

    @property
    def document(self) -> Document:
        if not self._role and not self._blocks:
            return self._document
        content = [self._whole(index) for index in sorted(self._blocks)]
        message = {"role": self._role or "assistant", "content": content}
        return {**self._document, "output": {"message": message}}

    def _whole(self, index: int) -> Document:
        texts = {name: "".join(given) for (of, name), given in self._texts.items() if of == index}
        block = self._blocks[index]
        if "toolUse" in block:
            written = texts.get("input", "")
            try:
                arguments = orjson.loads(written) if written else {}
            except orjson.JSONDecodeError:
                arguments = written
            return {"toolUse": {**mapped(block["toolUse"]), "input": arguments}}
        if "reasoning" in texts:
            return {"reasoningContent": {"reasoningText": {"text": texts["reasoning"]}}}
        return {"text": texts["text"]} if "text" in texts else block

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        if name.startswith(EXCEPTION):
            message = string(data.get("message") or data.get("Message"))
            self._document["error"] = {"type": name.removeprefix(EXCEPTION), "message": message}
            self.finished = True
            return False
        if name in ("", "chunk"):
            name = next((key for key in data if key in _EVENTS), "")
            data = mapped(data.get(name))
        index = count(data.get("contentBlockIndex")) or 0
        match name:
            case "messageStart":
                self._role = string(data.get("role"))
            case "contentBlockStart":
                self._blocks[index] = mapped(data.get("start"))
                self._note_call(index, at_ns)
            case "contentBlockDelta":
                return self._add(index, mapped(data.get("delta")), at_ns)
            case "contentBlockStop":
                self._note_call(index, at_ns)
            case "messageStop":
                self._document["stopReason"] = data.get("stopReason")
                self.finished = True
            case "metadata":
                self._document |= {key: data[key] for key in ("usage", "metrics") if key in data}
        return False

    def _add(self, index: int, delta: Document, at_ns: int) -> bool:
        block = self._blocks.setdefault(index, {})
        for name, value in (
            ("text", delta.get("text")),
            ("input", mapped(delta.get("toolUse")).get("input")),
            ("reasoning", mapped(delta.get("reasoningContent")).get("text")),
        ):
            if isinstance(value, str):
                self._texts.setdefault((index, name), []).append(value)
                self._note_call(index, at_ns)
                return bool(value)
        if "redactedContent" in mapped(delta.get("reasoningContent")):
            block["reasoningContent"] = {"redactedContent": ""}
        return False

    def _note_call(self, index: int, at_ns: int) -> None:
        if identity := mapped(self._blocks.get(index, {}).get("toolUse")).get("toolUseId"):
            self._ended[string(identity)] = at_ns


_EVENTS = frozenset(
    {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }
)


count_tokens = CountTokens(lambda body, path: model_in(path), "inputTokens")
