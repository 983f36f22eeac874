"""The APIs that are understood, found by the end of the path."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Document,
    Format,
    Message,
    Part,
    Usage,
    mapped,
    mappings,
)
from collector.proxy.formats.bedrock import bedrock_format
from collector.proxy.formats.chat import Chat
from collector.proxy.formats.cohere import CohereChat, CohereEmbed, Rerank
from collector.proxy.formats.completions import Completions, FillIn
from collector.proxy.formats.conversations import ANSWER, Conversations
from collector.proxy.formats.embeddings import Embeddings
from collector.proxy.formats.gemini import EmbedContent, GenerateContent, Live
from collector.proxy.formats.gemini import count_tokens as gemini_count_tokens
from collector.proxy.formats.interactions import Interactions
from collector.proxy.formats.lmstudio import LmStudioChat
from collector.proxy.formats.media import Images, Speech, Transcription
from collector.proxy.formats.messages import Messages, count_tokens
from collector.proxy.formats.ollama import OllamaChat, OllamaEmbed, OllamaGenerate
from collector.proxy.formats.predict import predict_format
from collector.proxy.formats.responses import Responses
from collector.proxy.formats.responses import count_tokens as responses_count_tokens

__all__ = [
    "Answered",
    "Asked",
    "Assembler",
    "Document",
    "Format",
    "Message",
    "Part",
    "Usage",
    "format_by_shape",
    "format_of",
]

_BY_END: tuple[tuple[str, Format], ...] = (
    ("/chat/completions", Chat()),
    ("/agents/completions", Chat()),
    ("/fim/completions", FillIn()),
    ("/completions", Completions()),
    ("/responses", Responses()),
    ("/responses/compact", Responses()),
    ("/responses/input_tokens", responses_count_tokens),
    ("/realtime", Responses()),
    ("/embeddings", Embeddings()),
    ("/messages/count_tokens", count_tokens),
    ("/messages", Messages()),
    ("/count-tokens:rawPredict", count_tokens),
    (":rawPredict", Messages()),
    (":streamRawPredict", Messages()),
    (":generateContent", GenerateContent()),
    (":streamGenerateContent", GenerateContent()),
    ("BidiGenerateContent", Live()),
    ("BidiGenerateContentConstrained", Live()),
    ("/interactions", Interactions()),
    (":embedContent", EmbedContent()),
    (":batchEmbedContents", EmbedContent()),
    (":countTokens", gemini_count_tokens),
    ("/api/chat", OllamaChat()),
    ("/api/generate", OllamaGenerate()),
    ("/api/embed", OllamaEmbed()),
    ("/images/generations", Images()),
    ("/images/edits", Images()),
    ("/images/variations", Images()),
    ("/audio/speech", Speech()),
    ("/audio/transcriptions", Transcription()),
    ("/audio/translations", Transcription()),
    ("/v2/chat", CohereChat()),
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
    if family != "cohere" and path.endswith("/api/v1/chat"):
        return LmStudioChat()
    if family == "cohere" and path.endswith("/v1/chat"):
        return CohereChat()
    if family == "ollama" and path.endswith("/api/embeddings"):
        return OllamaEmbed()
    if found := bedrock_format(path):
        return found
    if path.endswith(":predict"):
        return predict_format(path)
    if "/publishers/mistralai/" in path and path.endswith("awPredict"):
        return Chat()
    return next((format_ for end, format_ in _BY_END if path.endswith(end)), None)


def format_by_shape(
    body: Document, answers: Sequence[Document], *, failed: bool, family: str
) -> Format | None:
    """The API of a call whose path does not tell, by what was asked and answered; None if it is none that is known.

    Args:
        answers: the answer, or the first events of a stream.
        failed: the answer is an error, which has the shape of none: then the question and the family decide.
    """
    asks = {name for name in ("messages", "contents") if mappings(body.get(name))}
    asks |= {name for name in ("prompt", "input") if body.get(name)}
    for answer in answers:
        says = str(answer.get("type", ""))
        if "messages" in asks and isinstance(answer.get("choices"), list):
            return Chat()
        if "messages" in asks and says in ("message", "message_start"):
            return Messages()
        if "messages" in asks and "message" in answer and "done" in answer:
            return OllamaChat()
        if "messages" in asks and "finish_reason" in answer and mapped(answer.get("message")).get("content"):
            return CohereChat()
        if body.get("message") and ("generation_id" in answer or "event_type" in answer):
            return CohereChat()
        if body.get("inputs") and ANSWER in (answer.get("object"), says.removesuffix(".started")):
            return Conversations()
        if "contents" in asks and isinstance(answer.get("candidates"), list):
            return GenerateContent()
        if "input" in asks and (answer.get("object") == "response" or says == "response.created"):
            return Responses()
        if "input" in asks and any(
            item.get("object") == "embedding" for item in mappings(answer.get("data"))
        ):
            return Embeddings()
        if "prompt" in asks and isinstance(answer.get("choices"), list):
            return Completions()
        if "prompt" in asks and "response" in answer and "done" in answer:
            return OllamaGenerate()
    if failed and any("role" in message for message in mappings(body.get("messages"))):
        by_family: dict[str, Format] = {
            "anthropic": Messages(),
            "ollama": OllamaChat(),
            "cohere": CohereChat(),
        }
        return by_family.get(family, Chat())
    return GenerateContent() if failed and "contents" in asks and family == "gemini" else None
