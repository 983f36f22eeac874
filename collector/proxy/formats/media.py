"""Images and audio: what was asked for and how large it was, never the media."""

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
    error_of,
    mapped,
    mappings,
    media_part,
    string,
    text_part,
    uri_part,
)
from collector.proxy.formats.chat import read_usage as chat_usage
from collector.proxy.formats.responses import read_usage


class Images:
    api = "images"

    def asked(self, body: Document, path: str) -> Asked:
        prompt = body.get("prompt")
        messages: list[Message] = (
            [{"role": "user", "parts": [text_part(prompt)]}] if isinstance(prompt, str) else []
        )
        return Asked(
            "image_generation",
            string(body.get("model")),
            body.get("stream") is True,
            {"gen_ai.output.type": "image"},
            messages=messages,
        )

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        kind = f"image/{string(document.get('output_format')) or 'png'}"
        parts = []
        for image in mappings(document.get("data")):
            data = image.get("b64_json")
            parts.append(media_part("image", kind, data) if data else uri_part("image", image.get("url")))
        return Answered(
            messages=[{"role": "assistant", "parts": parts}] if parts else [],
            usage=read_usage(document.get("usage")),
            error_type=error_type,
            error_message=error_message,
        )

    def assembler(self) -> Assembler | None:
        return _Images()


class _Images(Assembling):
    def __init__(self) -> None:
        super().__init__()
        self._images: list[Document] = []
        self._head: Document = {}

    @property
    def document(self) -> Document:
        return {**self._head, "data": self._images}

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        if "error" in data:
            self._head["error"] = data["error"]
            self.finished = True
        elif string(data.get("type")).endswith(".completed"):
            self._images.append(data)
            self._head |= {key: data[key] for key in ("usage", "output_format") if key in data}
            self.finished = True
        return bool(data.get("b64_json"))


class Speech:
    """Text to audio; the answer is the audio itself."""

    api = "speech"

    def asked(self, body: Document, path: str) -> Asked:
        messages: list[Message] = [{"role": "user", "parts": [text_part(body.get("input") or "")]}]
        return Asked(
            "speech",
            string(body.get("model")),
            parameters={"gen_ai.output.type": "speech"},
            messages=messages,
        )

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        return Answered(
            usage=read_usage(document.get("usage")), error_type=error_type, error_message=error_message
        )

    def assembler(self) -> Assembler | None:
        return _Speech()


class _Speech(Assembling):
    """`stream_format: sse`; the last event has what it used."""

    def __init__(self) -> None:
        super().__init__()
        self.document: Document = {}

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        if data.get("type") == "speech.audio.done" or "error" in data:
            self.document = data
            self.finished = True
        return bool(data.get("audio"))


def _usage(given: Any) -> Usage:
    """As OpenAI's own models tell it, or as chat completions do (Mistral)."""
    return chat_usage(given) if "prompt_tokens" in mapped(given) else read_usage(given)


class Transcription:
    """Audio to text; the request is a form with a file."""

    api = "transcription"

    def asked(self, body: Document, path: str) -> Asked:
        operation = "transcription" if path.endswith("transcriptions") else "translation"
        file = mapped(body.get("file"))
        parts = [media_part("audio", "", None, **file)] if file else []
        if body.get("prompt"):
            parts.append(text_part(body["prompt"]))
        return Asked(
            operation,
            string(body.get("model")),
            string(body.get("stream")).lower() == "true",
            {"gen_ai.output.type": "text"},
            messages=[{"role": "user", "parts": parts}] if parts else [],
        )

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        text = document.get("text")
        messages: list[Message] = (
            [{"role": "assistant", "parts": [text_part(text)]}] if isinstance(text, str) else []
        )
        return Answered(
            messages=messages,
            usage=_usage(document.get("usage")),
            error_type=error_type,
            error_message=error_message,
        )

    def assembler(self) -> Assembler | None:
        return _Transcript()


class _Transcript(Assembling):
    def __init__(self) -> None:
        super().__init__()
        self._document: Document = {}
        self._texts: list[str] = []

    @property
    def document(self) -> Document:
        return (
            self._document if "text" in self._document else {**self._document, "text": "".join(self._texts)}
        )

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        if data.get("type") == "transcript.text.delta":
            self._texts.append(string(data.get("delta")))
            return True
        if data.get("type") == "transcript.text.done" or "error" in data:
            self._document = data
            self.finished = True
        return False
