"""OpenAI Responses, over HTTP and over its WebSocket.

The event that ends a stream (`response.completed`, `.incomplete`, `.failed`) carries the whole response; if it never
comes, what is known is put together from finished items and deltas. Event types: OpenAI API reference, "Streaming".
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
    call_part,
    cost_in,
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
    with_reasoning,
)
from collector.proxy.formats.chat import read_content, tool_names
from collector.proxy.formats.counting import CountTokens

_PARAMETERS = {
    "max_output_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "service_tier": "openai.request.service_tier",
    "previous_response_id": "gen_ai.request.previous_response.id",
    "user": "user.id",
}
_ENDS = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done"}
)
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_RESULTS = (
    "function_call_output",
    "custom_tool_call_output",
    "local_shell_call_output",
    "shell_call_output",
    "apply_patch_call_output",
    "computer_call_output",
)
_SERVER_CALLS = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
    }
)
"""Run by OpenAI within the response."""
_DELTAS = {
    "response.output_text.delta": ("content", "text"),
    "response.refusal.delta": ("content", "refusal"),
    "response.reasoning_text.delta": ("content", "text"),
    "response.reasoning_summary_text.delta": ("summary", "text"),
    "response.audio.transcript.delta": ("content", "transcript"),
    "response.function_call_arguments.delta": ("arguments", ""),
    "response.custom_tool_call_input.delta": ("input", ""),
    "response.mcp_call_arguments.delta": ("arguments", ""),
}
"""Events in which the model says something: the member of the item that grows, and within its parts."""


class Responses:
    api = "responses"

    def asked(self, body: Document, path: str) -> Asked:
        if isinstance(body.get("response"), dict):  # the Realtime API wraps what is asked
            body = body["response"]
        given = body.get("input")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else mappings(given)
        instructions = body.get("instructions")
        found = parameters(body, _PARAMETERS)
        effort = mapped(body.get("reasoning")).get("effort")
        if isinstance(effort, str):
            found["gen_ai.request.reasoning.level"] = effort
        if string(mapped(mapped(body.get("text")).get("format")).get("type")).startswith("json"):
            found["gen_ai.output.type"] = "json"
        conversation = body.get("conversation")
        return Asked(
            "chat",
            string(body.get("model")),
            body.get("stream") is True,
            found,
            [text_part(instructions)] if isinstance(instructions, str) and instructions else [],
            read_items(items),
            tool_names(body.get("tools")),
            string(mapped(conversation).get("id") if isinstance(conversation, dict) else conversation),
            string(body.get("previous_response_id")),
        )

    def answered(self, document: Document) -> Answered:
        status = string(document.get("status"))
        error_type, error_message = error_of(document)
        if status == "failed" and not error_type:
            error_type = "failed"
        messages = read_items(mappings(document.get("output")))
        reason = _finish_reason(status, document, messages)
        merged = (
            [{"role": "assistant", "parts": [part for message in messages for part in message["parts"]]}]
            if messages
            else []
        )
        for message in merged:
            message["finish_reason"] = reason
        attributes: dict[str, Any] = {"openai.api.type": "responses"}
        usage = read_usage(document.get("usage"))
        usage.web_searches = _searches(mappings(document.get("output")))
        if isinstance(document.get("service_tier"), str):
            attributes["openai.response.service_tier"] = document["service_tier"]
        if any(item.get("type") == "compaction" for item in mappings(document.get("output"))):
            attributes["gen_ai.conversation.compacted"] = True
        return Answered(
            string(document.get("id")),
            string(document.get("model")),
            [reason] if reason else [],
            merged,
            usage,
            error_type,
            error_message,
            attributes,
        )

    def assembler(self) -> Assembler:
        return _Assembler()


def _searches(items: list[Document]) -> int | None:
    """Searches of the web among the calls of that tool. Pages that were opened or looked through are not charged for
    (OpenAI, "Web search", "Output and citations")."""
    calls = [item for item in items if item.get("type") == "web_search_call"]
    if not calls:
        return None
    return sum(
        1
        for call in calls
        if mapped(call.get("action")).get("type", "search") == "search" and call.get("status") != "failed"
    )


def _finish_reason(status: str, document: Document, messages: list[Message]) -> str:
    if status == "completed":
        called = any(part["type"] == "tool_call" for message in messages for part in message["parts"])
        return "tool_call" if called else "stop"
    if status == "incomplete":
        reason = string(mapped(document.get("incomplete_details")).get("reason"))
        return {"max_output_tokens": "length"}.get(reason, reason or "length")
    return "error" if status in ("failed", "cancelled") else ""


def read_items(items: list[Document]) -> list[Message]:
    """Items as messages; those that follow one another in one role are one message."""
    messages: list[Message] = []
    for item in items:
        role, parts = _read_item(item)
        if not parts:
            continue
        if messages and messages[-1]["role"] == role and item.get("type") not in (None, "message"):
            messages[-1]["parts"] += parts
        else:
            messages.append({"role": role, "parts": parts})
    return messages


def _read_item(item: Document) -> tuple[str, list[Part]]:
    kind = string(item.get("type")) or "message"
    if kind == "message":
        return string(item.get("role")) or "assistant", read_content(item.get("content"))
    if kind in _CALLS:
        return "assistant", [call_part(item.get("call_id"), item.get("name"), item.get(_CALLS[kind], ""))]
    if kind in _RESULTS:
        return "tool", [result_part(item.get("call_id"), _output(item.get("output")))]
    if kind == "reasoning":
        texts = [
            string(block.get("text"))
            for block in mappings(item.get("summary")) + mappings(item.get("content"))
        ]
        if not any(texts) and item.get("encrypted_content"):
            return "assistant", [{"type": "reasoning", "content": "", "encrypted": True}]
        return "assistant", [reasoning_part("\n".join(filter(None, texts)))] if any(texts) else []
    if kind in _SERVER_CALLS:
        return "assistant", _read_server_call(kind, item)
    if kind in ("local_shell_call", "shell_call", "computer_call", "apply_patch_call"):
        action = item.get("action") or item.get("operation") or item.get("actions")
        return "assistant", [call_part(item.get("call_id"), kind.removesuffix("_call"), action)]
    if kind == "item_reference":
        return "assistant", []
    return "assistant", [generic_part(item)]


def _read_server_call(kind: str, item: Document) -> list[Part]:
    name = string(item.get("name")) or kind.removesuffix("_call")
    arguments = item.get("arguments") or item.get("action") or item.get("queries") or item.get("code") or ""
    parts = [call_part(item.get("id"), name, arguments, "server_tool_call")]
    if kind == "image_generation_call" and item.get("result"):
        parts.append(
            media_part("image", f"image/{string(item.get('output_format')) or 'png'}", item["result"])
        )
    elif item.get("output") is not None or item.get("error") is not None:
        failed = item.get("error") is not None
        result = item.get("error") if failed else item.get("output")
        parts.append(result_part(item.get("id"), result, failed=failed, type_="server_tool_call_response"))
    return parts


def _output(output: Any) -> Any:
    if isinstance(output, list):
        parts = read_content(output)
        if all(part["type"] == "text" for part in parts):
            return "\n".join(part["content"] for part in parts)
        return parts
    if isinstance(output, dict) and string(output.get("type")).endswith("screenshot"):
        return {"type": output["type"]}
    return output


def read_usage(value: Any) -> Usage:
    usage = mapped(value)
    read = mapped(usage.get("input_tokens_details") or usage.get("input_token_details"))
    written = mapped(usage.get("output_tokens_details") or usage.get("output_token_details"))
    input_, output = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    reasoning = count(written.get("reasoning_tokens"))
    return Usage(
        input_,
        with_reasoning(input_, output, reasoning, count(usage.get("total_tokens"))),
        count(read.get("cached_tokens")),
        count(read.get("cache_write_tokens")),
        reasoning,
        count(read.get("audio_tokens")) or None,
        count(written.get("audio_tokens")) or None,
        cost_in(usage),
    )


class _Assembler(Assembling):
    def __init__(self) -> None:
        super().__init__()
        self._response: Document = {}
        self._items: dict[int, Document] = {}

    @property
    def document(self) -> Document:
        if self.finished and listed(self._response.get("output")):
            return self._response
        items = [_joined(item) for _, item in sorted(self._items.items())]
        return {**self._response, "output": items}

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        kind = string(data.get("type")) or name
        if isinstance(data.get("response"), dict) and kind.startswith("response."):
            self._response = data["response"]
        if kind in _ENDS:
            self.finished = True
            return False
        if kind == "error" or (kind == "" and "error" in data):
            error_type, message = error_of(data)
            if not error_type:
                error_type, message = string(data.get("code")) or "error", string(data.get("message"))
            self._response = {**self._response, "error": {"type": error_type, "message": message}}
            self.finished = True
            return False
        index = count(data.get("output_index"))
        if index is None:
            return False
        if kind in ("response.output_item.added", "response.output_item.done") and isinstance(
            data.get("item"), dict
        ):
            item = data["item"]
            done = kind.endswith(".done")
            self._items[index] = dict(item) if done else {**item, "_parts": {}}
            identity = string(item.get("call_id") or item.get("id"))
            if done and identity:
                self._ended[identity] = at_ns
            if item.get("type") in _SERVER_CALLS:
                (self._ran_until if done else self._ran_from)[identity] = at_ns
            return False
        place = _DELTAS.get(kind)
        if place is None or not isinstance(data.get("delta"), str):
            return False
        item = self._items.setdefault(index, {"type": "message", "role": "assistant", "_parts": {}})
        part = count(data.get("content_index", data.get("summary_index"))) or 0
        if "_parts" in item:
            item["_parts"].setdefault((*place, part), []).append(data["delta"])
        return bool(data["delta"])


count_tokens = CountTokens(lambda body, path: string(body.get("model")), "input_tokens")
"""`/responses/input_tokens`"""


def _joined(item: Document) -> Document:
    """An item whose end never came, as far as its deltas tell."""
    if "_parts" not in item:
        return item
    whole = {key: value for key, value in item.items() if key != "_parts"}
    for (member, inner, _), texts in sorted(item["_parts"].items(), key=lambda entry: entry[0]):
        text = "".join(texts)
        if not inner:
            whole[member] = text
        else:
            kind = (
                "refusal" if inner == "refusal" else "summary_text" if member == "summary" else "output_text"
            )
            known = whole.get(member)
            whole[member] = [
                *(known if isinstance(known, list) else []),
                {"type": kind, "text": text, "refusal": text},
            ]
    return whole
