"""The APIs that are understood, found by the end of the path."""

from __future__ import annotations

from functools import lru_cache

from collector.proxy.formats.base import Answered, Asked, Assembler, Document, Format, Message, Part, Usage
from collector.proxy.formats.bedrock import bedrock_format
from collector.proxy.formats.chat import Chat
from collector.proxy.formats.cohere import CohereChat, CohereEmbed, Rerank
from collector.proxy.formats.completions import Completions
from collector.proxy.formats.embeddings import Embeddings
from collector.proxy.formats.gemini import EmbedContent, GenerateContent, Live
from collector.proxy.formats.gemini import count_tokens as gemini_count_tokens
from collector.proxy.formats.media import Images, Speech, Transcription
from collector.proxy.formats.messages import Messages, count_tokens
from collector.proxy.formats.ollama import OllamaChat, OllamaEmbed, OllamaGenerate
from collector.proxy.formats.responses import Responses

__all__ = [
    "Answered",
    "Asked",
    "Assembler",
    "Document",
    "Format",
    "Message",
    "Part",
    "Usage",
    "format_of",
]

_BY_END: tuple[tuple[str, Format], ...] = (
    ("/chat/completions", Chat()),
    ("/completions", Completions()),
    ("/responses", Responses()),
    ("/realtime", Responses()),
    ("/embeddings", Embeddings()),
    ("/messages/count_tokens", count_tokens),
    ("/messages", Messages()),
    (":rawPredict", Messages()),
    (":streamRawPredict", Messages()),
    (":generateContent", GenerateContent()),
    (":streamGenerateContent", GenerateContent()),
    ("BidiGenerateContent", Live()),
    ("BidiGenerateContentConstrained", Live()),
    (":embedContent", EmbedContent()),
    (":batchEmbedContents", EmbedContent()),
    (":countTokens", gemini_count_tokens),
    ("/api/chat", OllamaChat()),
    ("/api/generate", OllamaGenerate()),
    ("/api/embed", OllamaEmbed()),
    ("/images/generations", Images()),
    ("/images/edits", Images()),
    ("/audio/speech", Speech()),
    ("/audio/transcriptions", Transcription()),
    ("/audio/translations", Transcription()),
    ("/v2/chat", CohereChat()),
    ("/v1/chat", CohereChat()),
    ("/v2/embed", CohereEmbed()),
    ("/v1/embed", CohereEmbed()),
    ("/rerank", Rerank()),
)


@lru_cache(maxsize=1024)  # few paths are asked for, each of them often
def format_of(path: str, family: str = "") -> Format | None:
    """The API that is asked for at a provider's path; None if it is none that is known."""
    path = path.removesuffix("/")
    if "/threads/" in path:  # Assistants have messages of their own
        return None
    if family == "ollama" and path.endswith("/api/embeddings"):
        return OllamaEmbed()
    if found := bedrock_format(path):
        return found
    return next((format_ for end, format_ in _BY_END if path.endswith(end)), None)
