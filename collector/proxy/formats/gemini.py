"""Gemini's own API: `generateContent`, streamed as events or as one array in pieces, embeddings, token counting.

The model's name is in the path. A stream has no end of its own: it is whole when it closes after a finish reason.
Calls often have no id; then they get one from the response and their place, and results find them by name.
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

_PARAMETERS = {
    "maxOutputTokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "topP": "gen_ai.request.top_p",
    "topK": "gen_ai.request.top_k",
    "frequencyPenalty": "gen_ai.request.frequency_penalty",
    "presencePenalty": "gen_ai.request.presence_penalty",
    "stopSequences": "gen_ai.request.stop_sequences",
    "seed": "gen_ai.request.seed",
}
_FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "NO_IMAGE": "error",
    "IMAGE_OTHER": "error",
    "OTHER": "error",
}


_QUERIES = ("webSearchQueries", "imageSearchQueries")


def model_in(path: str) -> str:
    """`…/models/{model}:verb`"""
    return path.rpartition("/models/")[2].partition(":")[0] if "/models/" in path else ""


class GenerateContent:
    api = "generate_content"

    def asked(self, body: Document, path: str) -> Asked:
        config = mapped(body.get("generationConfig") or body.get("generation_config"))
        found = parameters(config, _PARAMETERS)
        if isinstance(config.get("candidateCount"), int) and config["candidateCount"] != 1:
            found["gen_ai.request.choice.count"] = config["candidateCount"]
        if config.get("responseMimeType") == "application/json":
            found["gen_ai.output.type"] = "json"
        tools = []
        for tool in mappings(body.get("tools")):
            for name, value in tool.items():
                declared = mappings(value)
                tools += [
                    {"type": "function", "name": string(function.get("name"))} for function in declared
                ] or [{"type": name, "name": name}]
        system = body.get("systemInstruction") or body.get("system_instruction")
        return Asked(
            "generate_content",
            model_in(path),
            ":stream" in path,
            found,
            _read_parts(mapped(system).get("parts"))
            if isinstance(system, dict)
            else [text_part(system)]
            if system
            else [],
            [read_content(content) for content in mappings(body.get("contents"))],
            tools,
        )

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        response_id = string(document.get("responseId"))
        messages, reasons = [], []
        calls = 0
        for candidate in mappings(document.get("candidates")):
            message = read_content(mapped(candidate.get("content")))
            for part in message["parts"]:
                if part["type"] == "tool_call":
                    part["id"] = part["id"] or f"{response_id}:{calls}"
                    calls += 1
            reason = string(candidate.get("finishReason"))
            if reason:
                known = _FINISH.get(reason, reason.lower())
                called = known == "stop" and any(part["type"] == "tool_call" for part in message["parts"])
                reasons.append("tool_call" if called else known)
                message["finish_reason"] = reasons[-1]
            messages.append(message)
        blocked = mapped(document.get("promptFeedback")).get("blockReason")
        if blocked and not reasons:
            reasons.append("content_filter")
        usage = read_usage(document.get("usageMetadata"))
        usage.web_searches = _searches(mappings(document.get("candidates")))
        return Answered(
            response_id,
            string(document.get("modelVersion")),
            reasons,
            messages,
            usage,
            error_type,
            error_message,
        )

    def assembler(self) -> Assembler | None:
        return _Assembler()


class Live(GenerateContent):
    """The Live API: what `frames` of its WebSocket note as one request is its set-up and the conversation."""

    api = "live"

    def asked(self, body: Document, path: str) -> Asked:
        asked = super().asked(body, path)
        asked.model = string(body.get("model")).rpartition("models/")[2]
        asked.stream = True
        return asked

    def assembler(self) -> _LiveAssembler:
        return _LiveAssembler()


class EmbedContent:
    """Vectors are never kept."""

    api = "embed_content"

    def asked(self, body: Document, path: str) -> Asked:
        requests = mappings(body.get("requests")) or [body]
        messages = [read_content(mapped(request.get("content"))) for request in requests]
        return Asked("embeddings", model_in(path), messages=messages)

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        return Answered(
            usage=read_usage(document.get("usageMetadata")),
            error_type=error_type,
            error_message=error_message,
        )

    def assembler(self) -> Assembler | None:
        return None


def read_content(content: Document) -> Message:
    role = string(content.get("role"))
    parts = _read_parts(content.get("parts"))
    if parts and all(part["type"] == "tool_call_response" for part in parts):
        role = "tool"
    return {"role": {"model": "assistant", "function": "tool", "": "user"}.get(role, role), "parts": parts}


def _read_parts(value: Any) -> list[Part]:
    return [_read_part(part) for part in mappings(value)]


def _read_part(part: Document) -> Part:
    if isinstance(part.get("text"), str):
        return reasoning_part(part["text"]) if part.get("thought") is True else text_part(part["text"])
    for name in ("functionCall", "function_call"):
        if isinstance(part.get(name), dict):
            return call_part(part[name].get("id"), part[name].get("name"), part[name].get("args"))
    for name in ("functionResponse", "function_response"):
        if isinstance(part.get(name), dict):
            result = part[name]
            return result_part(result.get("id"), result.get("response"), name=result.get("name"))
    for name in ("inlineData", "inline_data"):
        if isinstance(part.get(name), dict):
            media = string(part[name].get("mimeType") or part[name].get("mime_type"))
            return media_part(media.partition("/")[0], media, part[name].get("data"))
    for name in ("fileData", "file_data"):
        if isinstance(part.get(name), dict):
            uri = string(part[name].get("fileUri") or part[name].get("file_uri"))
            return {"type": "uri", "modality": "", "uri": uri[:2048]}
    if isinstance(part.get("executableCode"), dict):
        return call_part("", "code_execution", part["executableCode"].get("code"), "server_tool_call")
    if isinstance(part.get("codeExecutionResult"), dict):
        outcome = part["codeExecutionResult"]
        failed = string(outcome.get("outcome")) not in ("", "OUTCOME_OK")
        return result_part("", outcome.get("output"), failed=failed, type_="server_tool_call_response")
    return generic_part(part)


def read_usage(value: Any) -> Usage:
    """Thoughts stand beside the candidates, tool use beside the prompt: both belong in."""
    usage = mapped(value)
    thoughts = count(usage.get("thoughtsTokenCount"))
    return Usage(
        added(count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount"))),
        added(count(usage.get("candidatesTokenCount")), thoughts),
        count(usage.get("cachedContentTokenCount")),
        None,
        thoughts,
        _of_modality(usage.get("promptTokensDetails"), "AUDIO"),
        _of_modality(usage.get("candidatesTokensDetails") or usage.get("responseTokensDetails"), "AUDIO"),
    )


def _searches(candidates: list[Document]) -> int | None:
    """Searches that the answer is grounded in; None if it was not grounded. Empty queries are not charged for (Gemini
    API, "Grounding with Google Search")."""
    found = [mapped(candidate.get("groundingMetadata")) for candidate in candidates]
    if not any(found):
        return None
    return sum(
        bool(query) for grounding in found for name in _QUERIES for query in listed(grounding.get(name))
    )


def _of_modality(details: Any, modality: str) -> int | None:
    counts = [count(one.get("tokenCount")) for one in mappings(details) if one.get("modality") == modality]
    return added(*counts) or None


class _Assembler:
    def __init__(self) -> None:
        self._head: Document = {}
        self._candidates: dict[int, Document] = {}
        self._last_ns = 0

    @property
    def finished(self) -> bool:
        blocked = bool(mapped(self._head.get("promptFeedback")).get("blockReason"))
        return blocked or any(candidate.get("finishReason") for candidate in self._candidates.values())

    @property
    def document(self) -> Document:
        if not self._candidates:
            return self._head
        return {**self._head, "candidates": [candidate for _, candidate in sorted(self._candidates.items())]}

    def call_ended_ns(self, call_id: str) -> int | None:
        return self._last_ns or None

    def ran_ns(self, call_id: str) -> tuple[int, int] | None:
        return None

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        for key in ("responseId", "modelVersion", "usageMetadata", "promptFeedback", "error"):
            if data.get(key):
                self._head[key] = data[key]
        said = False
        for candidate in mappings(data.get("candidates")):
            index = count(candidate.get("index")) or 0
            known = self._candidates.setdefault(
                index, {"index": index, "content": {"role": "model", "parts": []}}
            )
            if candidate.get("finishReason"):
                known["finishReason"] = candidate["finishReason"]
            if candidate.get("groundingMetadata"):
                _merge_queries(known, mapped(candidate["groundingMetadata"]))
            for part in mappings(mapped(candidate.get("content")).get("parts")):
                said |= bool(part.get("text") or "functionCall" in part)
                if "functionCall" in part:
                    self._last_ns = at_ns
                _append(known["content"]["parts"], part)
        return said


class _LiveAssembler(_Assembler):
    """Messages of the Live API as chunks of `streamGenerateContent`. Of a voice the transcript is kept, if there is
    one."""

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        message = mapped(data)
        content = mapped(message.get("serverContent"))
        turn = mappings(mapped(content.get("modelTurn")).get("parts"))
        parts = [part for part in turn if "inlineData" not in part]
        if text := string(mapped(content.get("outputTranscription")).get("text")):
            parts.append({"text": text})
        calls = mappings(mapped(message.get("toolCall")).get("functionCalls"))
        parts += [{"functionCall": call} for call in calls]
        candidate: Document = {"content": {"parts": parts}}
        if content.get("groundingMetadata"):
            candidate["groundingMetadata"] = content["groundingMetadata"]
        if content.get("interrupted") is True:
            candidate["finishReason"] = "INTERRUPTED"
        elif not self.finished and (content.get("turnComplete") is True or "toolCall" in message):
            candidate["finishReason"] = "STOP"
        usage = mapped(message.get("usageMetadata"))
        if "responseTokenCount" in usage:
            usage = {**usage, "candidatesTokenCount": usage["responseTokenCount"]}
        chunk = {"usageMetadata": usage, "error": message.get("error")}
        if parts or len(candidate) > 1:
            chunk["candidates"] = [candidate]
        return super().feed(name, chunk, at_ns) or len(parts) < len(turn)


def _merge_queries(candidate: Document, grounding: Document) -> None:
    """Chunks of a stream may each tell of other queries, or of the earlier ones again."""
    known = candidate.setdefault("groundingMetadata", {})
    for name in _QUERIES:
        asked = [*listed(known.get(name)), *listed(grounding.get(name))]
        known[name] = list(dict.fromkeys(query for query in asked if isinstance(query, str)))


def _append(parts: list[Document], part: Document) -> None:
    """Texts of one kind that follow one another are one text."""
    last = parts[-1] if parts else {}
    if (
        isinstance(part.get("text"), str)
        and isinstance(last.get("text"), str)
        and last.get("thought") == part.get("thought")
    ):
        parts[-1] = {**last, **part, "text": last["text"] + part["text"]}
    else:
        parts.append(part)


count_tokens = CountTokens(lambda body, path: model_in(path), "totalTokens")
