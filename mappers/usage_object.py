"""Usage objects as providers return them, which some libraries pass on whole: one reading for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mappers.conventions.base import Computed
from mappers.messages.document import member, parse, remembered

_PLACES: dict[str, tuple[tuple[str, ...], ...]] = {
    "input_tokens": (("prompt_tokens",), ("input_tokens",), ("promptTokenCount",), ("inputTokens",)),
    "output_tokens": (
        ("completion_tokens",),
        ("output_tokens",),
        ("candidatesTokenCount",),
        ("outputTokens",),
    ),
    "total_tokens": (("total_tokens",), ("totalTokenCount",), ("totalTokens",), ("total",)),
    "cache_read_tokens": (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("input_token_details", "cache_read"),
        ("cache_read_input_tokens",),
        ("cachedContentTokenCount",),
        ("cacheReadInputTokens",),
    ),
    "cache_write_tokens": (
        ("cache_creation_input_tokens",),
        ("cacheWriteInputTokens",),
        ("input_token_details", "cache_creation"),
    ),
    "cache_write_1h_tokens": (
        ("cache_creation", "ephemeral_1h_input_tokens"),
        ("input_token_details", "ephemeral_1h_input_tokens"),
        ("prompt_tokens_details", "cache_creation_token_details", "ephemeral_1h_input_tokens"),
    ),
    "reasoning_tokens": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        ("output_token_details", "reasoning"),
        ("thoughtsTokenCount",),
    ),
    "audio_input_tokens": (
        ("prompt_tokens_details", "audio_tokens"),
        ("input_tokens_details", "audio_tokens"),
    ),
    "audio_output_tokens": (
        ("completion_tokens_details", "audio_tokens"),
        ("output_tokens_details", "audio_tokens"),
    ),
    "web_searches": (
        ("server_tool_use", "web_search_requests"),
        ("prompt_tokens_details", "web_search_requests"),
        ("num_search_queries",),
    ),
}
"""Fields and where OpenAI (chat, responses), Anthropic, Gemini, Bedrock, LangChain, LiteLLM, Perplexity have them."""

_BUCKETS = {
    "cache_read_tokens": ("input_cached_tokens", "input_cache_read", "cache_read_input_tokens"),
    "cache_write_tokens": ("input_cache_creation", "input_cache_write", "cache_creation_input_tokens"),
    "reasoning_tokens": ("output_reasoning_tokens", "output_reasoning"),
    "audio_input_tokens": ("input_audio_tokens", "input_audio"),
    "audio_output_tokens": ("output_audio_tokens", "output_audio"),
}
"""Names of parts where input and output are given as buckets that do not overlap."""


def from_usage(key: str, field: str) -> Computed:
    """The source of a token field in an attribute that holds a usage object."""
    return Computed(lambda get: _read(get(key)).get(field), (key,))


def searches_told_in(key: str) -> Computed:
    """The source of `web_searches` in an attribute that holds a provider's whole answer as JSON, wherever in it the
    usage is. Nearly none has it, so the text is looked through and not parsed."""
    return Computed(lambda get: _searches_told_in(get(key)), (key,))


_SEARCHES = re.compile(r'"server_tool_use"\s*:\s*\{[^{}]*"web_search_requests"\s*:\s*(\d{1,6})\b')
"""Quotes within texts are escaped, so that nothing that is said looks like this."""


def _searches_told_in(answer: Any) -> int | None:
    if not isinstance(answer, str) or "web_search_requests" not in answer:
        return None
    found = _SEARCHES.search(answer)
    return int(found[1]) if found else None


def read_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Token fields of a usage object, input and output as their provider counts them.

    An object with `input` or `output` is a list of exclusive buckets (Langfuse): they are added up, but for
    predictions, which are billed and not written.
    """
    if "input" in usage or "output" in usage:
        found: dict[str, Any] = {
            "input_tokens": _sum(usage, "input"),
            "output_tokens": _sum(usage, "output"),
        }
        for field, names in _BUCKETS.items():
            found[field] = next((usage[name] for name in names if usage.get(name) is not None), None)
    else:
        found = {
            field: next((value for path in places if (value := member(usage, path)) is not None), None)
            for field, places in _PLACES.items()
        }
    return {field: value for field, value in found.items() if value is not None}


def _sum(usage: Mapping[str, Any], side: str) -> int | None:
    parts = [
        value
        for name, value in usage.items()
        if type(value) is int
        and isinstance(name, str)
        and (name == side or name.startswith(f"{side}_"))
        and "prediction" not in name
    ]
    return sum(parts) if parts else None


def _read(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return _read_text(value)
    return read_usage(value) if isinstance(value, dict) else {}


@remembered(64)
def _read_text(text: str) -> dict[str, Any]:
    """Each field asks for the same text."""
    document = parse(text)
    return read_usage(document) if isinstance(document, dict) else {}
