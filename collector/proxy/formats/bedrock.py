"""Bedrock's InvokeModel: each vendor's own request and answer, told apart by their shape, as ARNs name no vendor.

Amazon Bedrock user guide, "Inference request parameters and response fields for foundation models". A stream's events
hold the vendor's own, in base64; the last one has token counts (`amazon-bedrock-invocationMetrics`), which without
streaming come in headers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Assembling,
    Document,
    Format,
    Usage,
    count,
    error_of,
    mapped,
    mappings,
    parameters,
    string,
    text_part,
)
from collector.proxy.formats.chat import Chat
from collector.proxy.formats.cohere import CohereChat, CohereEmbed
from collector.proxy.formats.completions import Completions
from collector.proxy.formats.converse import Converse, count_tokens, model_in, read_usage
from collector.proxy.formats.messages import Messages
from collector.proxy.framing import EXCEPTION

METRICS = "amazon-bedrock-invocationMetrics"
_HEADERS = {
    "inputTokens": b"x-amzn-bedrock-input-token-count",
    "outputTokens": b"x-amzn-bedrock-output-token-count",
    "cacheReadInputTokens": b"x-amzn-bedrock-cache-read-input-token-count",
    "cacheWriteInputTokens": b"x-amzn-bedrock-cache-write-input-token-count",
}
_PROMPT_PARAMETERS = {
    name: f"gen_ai.request.{attribute}"
    for attribute, names in {
        "max_tokens": ("max_gen_len", "maxTokenCount"),
        "top_p": ("topP",),
        "stop_sequences": ("stopSequences",),
        "temperature": ("temperature",),
    }.items()
    for name in names
}
_FINISH = {"FINISH": "stop", "stop": "stop", "LENGTH": "length", "length": "length"}

_chat, _completions, _messages, _converse = Chat(), Completions(), Messages(), Converse()
_cohere, _cohere_embed = CohereChat(), CohereEmbed()


class _Prompted:
    """A prompt and a text: Titan, Llama and Mistral, each with names of its own."""

    api = "invoke_model"

    def asked(self, body: Document, path: str) -> Asked:
        asked = _completions.asked({**body, "prompt": body.get("prompt", body.get("inputText"))}, path)
        asked.parameters |= parameters(
            {**body, **mapped(body.get("textGenerationConfig"))}, _PROMPT_PARAMETERS
        )
        return asked

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        results = mappings(document.get("results")) or mappings(document.get("outputs")) or [document]
        texts = [
            string(result.get("outputText", result.get("generation", result.get("text"))))
            for result in results
        ]
        reasons = [
            _FINISH.get(string(reason), string(reason).lower())
            for result in results
            if (reason := result.get("completionReason") or result.get("stop_reason"))
        ]
        output = count(document.get("generation_token_count", document.get("totalOutputTextTokenCount")))
        counted = [count(result.get("tokenCount")) for result in results]
        if output is None and counted[0] is not None:
            output = sum(one or 0 for one in counted)
        return Answered(
            finish_reasons=reasons,
            messages=[{"role": "assistant", "parts": [text_part(text)]} for text in texts if text],
            usage=Usage(
                count(document.get("prompt_token_count", document.get("inputTextTokenCount"))), output
            ),
            error_type=error_type,
            error_message=error_message,
        )

    def assembler(self) -> Assembler | None:
        return _TextAssembler()


class _Embedded:
    """Titan's embeddings; vectors are never kept."""

    api = "invoke_model"

    def asked(self, body: Document, path: str) -> Asked:
        text = body.get("inputText") or ""
        return Asked("embeddings", messages=[{"role": "user", "parts": [text_part(text)]}])

    def answered(self, document: Document) -> Answered:
        return Answered(usage=Usage(count(document.get("inputTextTokenCount"))))

    def assembler(self) -> Assembler | None:
        return None


_prompted, _embedded = _Prompted(), _Embedded()


class InvokeModel:
    api = "invoke_model"

    def asked(self, body: Document, path: str) -> Asked:
        asked = _format_of_request(body, path).asked(body, path)
        asked.model = model_in(path)
        asked.stream = path.endswith("-stream")
        return asked

    def answered(self, document: Document) -> Answered:
        found = _format_of_answer(document).answered(document)
        if not found.usage.known:
            found.usage = read_usage(_metrics(document.get(METRICS)))
        return found

    def assembler(self) -> Assembler | None:
        return _Assembler()


def _format_of_request(body: Document, path: str) -> Format:
    messages = mappings(body.get("messages"))
    if messages:
        if "anthropic_version" in body:
            return _messages
        blocks = [block for message in messages for block in mappings(message.get("content"))]
        if (
            "schemaVersion" in body
            or "inferenceConfig" in body
            or any("type" not in block for block in blocks)
        ):
            return _converse
        return _chat
    if "texts" in body or "input_type" in body:
        return _cohere_embed
    if isinstance(body.get("message"), str):
        return _cohere
    return _embedded if "inputText" in body and "embed" in model_in(path) else _prompted


def _format_of_answer(document: Document) -> Format:
    choices = mappings(document.get("choices"))
    if "embedding" in document or "embeddingsByType" in document:
        return _embedded
    if "embeddings" in document:
        return _cohere_embed
    if choices:
        return _chat if "message" in choices[0] else _completions
    if "output" in document or "stopReason" in document:
        return _converse
    if "content" in document:
        return _messages
    if "finish_reason" in document or "chat_history" in document:
        return _cohere
    return _prompted


def _format_of_event(data: Document) -> Format:
    kind = string(data.get("type"))
    if kind.startswith(("message_", "content_block_")) or kind in ("ping", "error"):
        return _messages
    choices = mappings(data.get("choices"))
    if choices:
        return _completions if "text" in choices[0] else _chat
    if data.keys() & {"outputText", "generation", "outputs", "text", "event_type"}:
        return _prompted
    return _converse


class _Assembler(Assembling):
    """Hands each event on to the assembler of its vendor, which the first one tells."""

    def __init__(self) -> None:
        super().__init__()
        self._vendors: Assembler | None = None
        self._more: Document = {}

    @property
    def document(self) -> Document:
        return {**(self._vendors.document if self._vendors is not None else {}), **self._more}

    def call_ended_ns(self, call_id: str) -> int | None:
        return self._vendors.call_ended_ns(call_id) if self._vendors is not None else None

    def ran_ns(self, call_id: str) -> tuple[int, int] | None:
        return self._vendors.ran_ns(call_id) if self._vendors is not None else None

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        if name.startswith(EXCEPTION):
            message = string(data.get("message") or data.get("Message"))
            self._more["error"] = {"type": name.removeprefix(EXCEPTION), "message": message}
            self.finished = True
            return False
        event = _unwrapped(data)
        if METRICS in event:
            self._more[METRICS] = event.pop(METRICS)
            self.finished = True
        if not event:
            return False
        if self._vendors is None:
            self._vendors = _format_of_event(event).assembler()
        said = self._vendors is not None and self._vendors.feed("", event, at_ns)
        self.finished = self.finished or (self._vendors is not None and self._vendors.finished)
        return said


class _TextAssembler(Assembling):
    """Of models that stream pieces of one text; the last piece says why it ends."""

    def __init__(self) -> None:
        super().__init__()
        self._document: Document = {}
        self._texts: list[str] = []

    @property
    def document(self) -> Document:
        return {**self._document, "text": "".join(self._texts)}

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        outputs = mappings(data.get("outputs"))
        piece = {**data, **outputs[0]} if outputs else data
        text = string(piece.get("outputText") or piece.get("generation") or piece.get("text"))
        if text:
            self._texts.append(text)
        self._document |= {key: piece[key] for key in (*_ENDS, *_COUNTS) if piece.get(key) is not None}
        self.finished = any(self._document.get(key) for key in _ENDS)
        return bool(text)


_ENDS = ("completionReason", "stop_reason", "finish_reason")
"""Of Titan, Llama and Mistral, Cohere."""
_COUNTS = (
    "prompt_token_count",
    "generation_token_count",
    "inputTextTokenCount",
    "totalOutputTextTokenCount",
)


def _unwrapped(data: Document) -> Document:
    """`{"bytes": base64 of JSON}`, with padding beside it."""
    try:
        parsed = orjson.loads(base64.b64decode(string(data.get("bytes")), validate=True))
    except (binascii.Error, orjson.JSONDecodeError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _metrics(value: Any) -> Document:
    """Counts of an invocation with Converse's names."""
    return {
        key.removesuffix("Count") + "s" * key.endswith("Count"): its for key, its in mapped(value).items()
    }


def usage_in_headers(headers: Mapping[bytes, str]) -> Usage:
    """Counts that Bedrock gives beside an answer."""
    given = {name: headers.get(header, "") for name, header in _HEADERS.items()}
    return read_usage(
        {name: int(value) for name, value in given.items() if value.isdigit() and len(value) < 15}
    )


_BY_VERB: dict[str, Format] = {
    "converse": _converse,
    "converse-stream": _converse,
    "invoke": InvokeModel(),
    "invoke-with-response-stream": InvokeModel(),
    "count-tokens": count_tokens,
}


def bedrock_format(path: str) -> Format | None:
    """The API of `/model/{id}/{verb}`; None if it is none of them."""
    return _BY_VERB.get(path.rpartition("/")[2]) if "/model/" in path else None
