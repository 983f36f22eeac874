"""The vocabulary: each field a convention may name, how its value is read, for which kinds it matters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from mappers.call_details import documents, offered_tools, parameters
from mappers.messages.document import compact, parse, remembered
from mappers.model import AttributeValue, Kind

MAX_ITEMS = 64
"""Most tags, finish reasons or metadata entries that are kept of one span."""
MAX_TEXT = 500
"""Longest metadata value, in characters."""
MAX_COUNT = 2**48
"""Counts and durations above this are damage."""
MAX_USD = 10**9
"""Amounts from here on are damage, not money, and too large to be added up."""


def text(value: AttributeValue) -> str | None:
    """A non-empty text. "None" is what some libraries write for nothing."""
    if type(value) is str:
        return value if value and value != "None" else None
    if isinstance(value, (bool, int, float)):
        return str(value)
    return None


def provider(value: AttributeValue) -> str | None:
    """The name of a provider, in small letters as the GenAI conventions have them: some libraries write `OpenAI`."""
    name = text(value)
    return name and name.lower()


def model(value: AttributeValue) -> str | None:
    """The name of a model. "unknown" is what some libraries write where they do not know it."""
    return text(value) if value != "unknown" else None


def count(value: AttributeValue) -> int | None:
    """A whole number from 0 on; floats and digits in a text count, bools do not."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= MAX_COUNT else None


def milliseconds(value: AttributeValue) -> float | None:
    """A finite duration that is not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= MAX_COUNT else None


def flag(value: AttributeValue) -> bool | None:
    """True or false, also when written as text."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None


def texts(value: AttributeValue) -> tuple[str, ...] | None:
    """A list of texts; also a JSON list in a text, or one text."""
    if isinstance(value, str):
        value = parse(value) if value.startswith("[") else value
        value = value if isinstance(value, list) else [value]
    if not isinstance(value, (list, tuple)):
        return None
    return tuple(item for item in map(text, value[:MAX_ITEMS]) if item) or None


def reasons(value: AttributeValue) -> tuple[str, ...] | None:
    """Finish reasons; `FinishReason.STOP` is `stop`."""
    found = texts(value)
    return found and tuple(
        x.rpartition(".")[2].lower() if x.startswith("FinishReason.") else x for x in found
    )


def money(value: AttributeValue) -> Decimal | None:
    """US dollars. Nothing is what libraries write for models whose price they do not know. Of a float, the 15 digits
    that it holds for sure: sums of prices end in 8 or 9 nines."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(f"{value:.15g}" if isinstance(value, float) else str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 < amount < MAX_USD else None


def mapping(value: AttributeValue) -> dict[str, str] | None:
    """Texts by key, from a mapping or from a JSON object in a text; nothing empty, nothing long."""
    return _mapping_in(value) if isinstance(value, str) else _mapping_of(value)


@remembered(512)
def _mapping_in(text: str) -> dict[str, str] | None:
    """A program says the same of many of its spans."""
    return _mapping_of(parse(text))


def _mapping_of(value: AttributeValue) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    found = {}
    for key, item in list(value.items())[:MAX_ITEMS]:
        written = item if isinstance(item, str) else compact(item).decode() if item is not None else ""
        if written and written != "None":
            found[str(key)] = written[:MAX_TEXT]
    return found or None


def anything(value: AttributeValue) -> Any:
    """Content in whatever shape; nothing empty. What Python writes of an object that has no text, as of a stream that
    nobody has read yet, is an address and no content."""
    if value.__class__ is str and value[:1] == "<" and _OBJECT.fullmatch(value):
        return None
    return value if value or value == 0 else None


_OBJECT = re.compile(r"<[\w.]+ (?:object |[\w.<>]+ ){0,2}at 0x[0-9a-fA-F]+>")
"""`<groq.Stream object at 0x7f…>`, `<generator object answer at 0x7f…>`, `<function <lambda> at 0x7f…>`"""


@dataclass(frozen=True, slots=True)
class Field:
    read: Callable[[AttributeValue], Any]
    kinds: frozenset[Kind]


_ALL = frozenset(Kind)
_TOOL = frozenset({Kind.TOOL, Kind.HANDOFF})
_LLM = frozenset({Kind.LLM})
_MODEL = frozenset({Kind.LLM, Kind.EMBEDDING, Kind.RERANKER})

FIELDS: Mapping[str, Field] = {
    "agent": Field(text, _ALL),
    "session_id": Field(text, _ALL),
    "conversation_id": Field(text, _ALL),
    "user_id": Field(text, _ALL),
    "tags": Field(texts, _ALL),
    "metadata": Field(mapping, _ALL),
    "operation": Field(text, _ALL),
    "outcome": Field(text, _ALL),
    "error_type": Field(text, _ALL),
    "error_message": Field(text, _ALL),
    "provider": Field(provider, _MODEL),
    "response_model": Field(model, _MODEL),
    "request_model": Field(model, _MODEL),
    "response_id": Field(text, _MODEL),
    "finish_reasons": Field(reasons, _MODEL),
    "streaming": Field(flag, _MODEL),
    "ttft_ms": Field(milliseconds, _MODEL),
    "input_tokens": Field(count, _MODEL),
    "output_tokens": Field(count, _MODEL),
    "total_tokens": Field(count, _MODEL),
    "cache_read_tokens": Field(count, _MODEL),
    "cache_write_tokens": Field(count, _MODEL),
    "cache_write_1h_tokens": Field(count, _MODEL),
    "reasoning_tokens": Field(count, _MODEL),
    "audio_input_tokens": Field(count, _MODEL),
    "audio_output_tokens": Field(count, _MODEL),
    "web_searches": Field(count, _LLM),
    "service_tier": Field(text, _MODEL),
    "cost_usd": Field(money, _MODEL),
    "resend_count": Field(count, _MODEL),
    "tool": Field(text, _TOOL),
    "tool_call_id": Field(text, _TOOL),
    "handoff_to": Field(text, _TOOL),
    "arguments": Field(anything, _TOOL),
    "result": Field(anything, _TOOL),
    "input_messages": Field(anything, _LLM),
    "input": Field(anything, _ALL - _TOOL),
    "output_messages": Field(anything, _LLM),
    "output": Field(anything, _ALL - _TOOL),
    "tool_requests": Field(anything, _LLM),
    "parameters": Field(parameters, _MODEL),
    "offered_tools": Field(offered_tools, _LLM),
    "prompt_name": Field(text, _LLM),
    "prompt_version": Field(text, _LLM),
    "documents": Field(documents, frozenset({Kind.RETRIEVER, Kind.RERANKER})),
    "embedding_dimensions": Field(count, frozenset({Kind.EMBEDDING})),
    "http_status": Field(count, _MODEL),
}
"""In the order in which they are read: what `Json.unless` names comes first.

`session_id` is what a program chose, `conversation_id` what its library chose for it: the former comes first.
`input` and `output` are the whole as one value; `input_messages` and `output_messages` are for conventions
that flatten the messages into keys of their own as well, or instead. `tool_requests` is only for conventions
that keep what the model asked for apart from its answer; elsewhere requests are found in the output.
"""
