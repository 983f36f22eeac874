"""OpenAI's embeddings. Vectors are never kept, only how long they are."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Document,
    Message,
    count,
    error_of,
    listed,
    mapped,
    mappings,
    parameters,
    string,
    text_part,
)
from collector.proxy.formats.chat import read_usage


class Embeddings:
    api = "embeddings"

    def asked(self, body: Document, path: str) -> Asked:
        given = body.get("input", body.get("prompt"))
        texts = (
            [given] if isinstance(given, str) else [text for text in listed(given) if isinstance(text, str)]
        )
        messages: list[Message] = [{"role": "user", "parts": [text_part(text)]} for text in texts]
        names = {
            "encoding_format": "gen_ai.request.encoding_formats",
            "dimensions": "gen_ai.embeddings.dimension.count",
        }
        return Asked(
            "embeddings", string(body.get("model")), parameters=parameters(body, names), messages=messages
        )

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        found = Answered(
            string(document.get("id")),
            string(document.get("model")),
            usage=read_usage(document.get("usage")),
            error_type=error_type,
            error_message=error_message,
        )
        found.usage.output = None  # some say 0: nothing is written
        if found.usage.input is None:  # Voyage and Jina tell the total alone
            found.usage.input = count(mapped(document.get("usage")).get("total_tokens"))
        for item in mappings(document.get("data"))[:1]:
            if dimension := _dimension(item.get("embedding")):
                found.attributes["gen_ai.embeddings.dimension.count"] = dimension
        return found

    def assembler(self) -> Assembler | None:
        return None


def _dimension(vector: object) -> int:
    """Numbers in a vector, which comes as a list or as base64 of 4-byte floats."""
    if isinstance(vector, list):
        return len(vector)
    if isinstance(vector, str):
        try:
            return len(b64decode(vector, validate=True)) // 4
        except (Error, ValueError):
            return 0
    return 0
