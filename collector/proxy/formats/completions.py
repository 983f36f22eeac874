"""OpenAI's legacy completions: a prompt and texts."""

from __future__ import annotations

from typing import Any

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Assembling,
    Document,
    Message,
    count,
    error_of,
    listed,
    mappings,
    string,
    text_part,
)
from collector.proxy.formats.chat import Chat, read_usage, request_parameters
from collector.proxy.formats.stats import stats_in


class Completions:
    api = "completions"

    def asked(self, body: Document, path: str) -> Asked:
        prompt = body.get("prompt")
        texts = (
            [prompt]
            if isinstance(prompt, str)
            else [text for text in listed(prompt) if isinstance(text, str)]
        )
        messages: list[Message] = [{"role": "user", "parts": [text_part(text)]} for text in texts]
        return Asked(
            "text_completion",
            string(body.get("model")),
            body.get("stream") is True,
            request_parameters(body),
            messages=messages,
        )

    def answered(self, document: Document) -> Answered:
        choices = sorted(
            mappings(document.get("choices")), key=lambda choice: count(choice.get("index")) or 0
        )
        error_type, error_message = error_of(document)
        return Answered(
            string(document.get("id")),
            string(document.get("model")),
            [string(choice["finish_reason"]) for choice in choices if choice.get("finish_reason")],
            [
                {
                    "role": "assistant",
                    "parts": [text_part(choice["text"])] if isinstance(choice.get("text"), str) else [],
                    "finish_reason": string(choice.get("finish_reason")),
                }
                for choice in choices
            ],
            read_usage(document.get("usage")),
            error_type,
            error_message,
            stats_in(document),
        )

    def assembler(self) -> Assembler:
        return _Assembler()


class FillIn(Chat):
    """Mistral's completion between a prompt and a suffix: asked like a completion, answered like a chat."""

    api = "fim_completions"

    def asked(self, body: Document, path: str) -> Asked:
        return Completions().asked(body, path)


class _Assembler(Assembling):
    def __init__(self) -> None:
        super().__init__()
        self._head: Document = {}
        self._choices: dict[int, Document] = {}

    @property
    def document(self) -> Document:
        choices = [{**choice, "text": "".join(choice["text"])} for _, choice in sorted(self._choices.items())]
        return {**self._head, "choices": choices}

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if data == "[DONE]":
            self.finished = True
            return False
        if not isinstance(data, dict):
            return False
        for key in ("id", "model", "usage", "stats", "error"):
            if data.get(key):
                self._head[key] = data[key]
        said = False
        for choice in mappings(data.get("choices")):
            index = count(choice.get("index")) or 0
            known = self._choices.setdefault(index, {"index": index, "text": [], "finish_reason": None})
            if isinstance(choice.get("text"), str) and choice["text"]:
                known["text"].append(choice["text"])
                said = True
            known["finish_reason"] = choice.get("finish_reason") or known["finish_reason"]
        return said
