"""What a call was made with and about: parameters, tools on offer, documents, sizes of vectors. All of it bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from mappers.conventions.base import Computed
from mappers.messages.document import MAX_REMEMBERED, compact, hash64, parse, remembered
from mappers.model import Document, OfferedTools

MAX_TEXT = 200
"""Longest parameter that is kept, in characters."""
MAX_TOOLS = 128
MAX_DOCUMENTS = 100
MAX_SCORE = 2**48
"""Greater scores are damage."""

_PARAMETERS: Mapping[str, Sequence[str]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p", "topP"),
    "top_k": ("top_k", "topK"),
    "max_tokens": (
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "maxTokens", "maxOutputTokens"),
        "max_tokens_to_sample",
    ),
    "stop": ("stop", "stop_sequences", "stopSequences"),
    "seed": ("seed",),
    "frequency_penalty": ("frequency_penalty", "frequencyPenalty"),
    "presence_penalty": ("presence_penalty", "presencePenalty"),
    "n": ("n", "choice.count", "candidate_count", "candidateCount"),
    "reasoning_effort": ("reasoning_effort", "reasoning.level", "reasoning.effort"),
    "tool_choice": ("tool_choice", "toolChoice"),
    "parallel_tool_calls": ("parallel_tool_calls",),
    "dimensions": ("dimensions",),
    "encoding_format": ("encoding_format", "encoding_formats"),
    "previous_response_id": ("previous_response_id", "previous_response.id"),
}
"""Parameters by the name under which they are kept, with the names that providers and libraries give them."""


def parameters(value: Any) -> dict[str, str] | None:
    """Known parameters of a request, as texts; messages, tools and the rest of it are not among them, nor what an
    SDK puts in the place of one that was not given (`<openai.Omit object at 0x…>`)."""
    return _parameters_in(value) if isinstance(value, str) else _parameters_of(value)


@remembered(512)
def _parameters_in(text: str) -> dict[str, str] | None:
    """A program asks with the same parameters again and again."""
    return _parameters_of(parse(text))


def _parameters_of(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    found = {}
    for name, names in _PARAMETERS.items():
        given = next((value[one] for one in names if value.get(one) is not None), None)
        if given is not None and given != "":
            written = given if isinstance(given, str) else compact(given).decode()
            if not (written.startswith("<") and " object at 0x" in written):
                found[name] = written[:MAX_TEXT]
    return found or None


def parameters_below(prefix: str, *names: str) -> Computed:
    """The source of parameters that each have an attribute of their own: those of `names`, else of all that are
    known, below the prefix."""
    keys = {
        name: f"{prefix}{name}" for name in (names or [x for known in _PARAMETERS.values() for x in known])
    }

    def read(get: Callable[[str], Any]) -> dict[str, Any]:
        return {name: value for name, key in keys.items() if (value := get(key)) is not None}

    return Computed(read, tuple(keys.values()))


# --------------------------------------------------------------------------- tools on offer


def offered_tools(value: Any) -> OfferedTools | None:
    """Names of the tools that a model may ask for, and a hash of their definitions."""
    if isinstance(value, str):
        return _offered_in(value)
    if isinstance(value, dict):
        return _offered(value)
    if not isinstance(value, (list, tuple)) or not value:
        return None
    if all(item.__class__ is str for item in value) and sum(map(len, value)) <= MAX_REMEMBERED:
        return _offered_in_turn(tuple(value))
    return _together(
        tuple(_offered_in(item) if isinstance(item, str) else _offered(item) for item in value[:MAX_TOOLS])
    )


@lru_cache(maxsize=512)
def _offered_in_turn(texts: tuple[str, ...]) -> OfferedTools | None:
    return _together(tuple(_offered_in(text) for text in texts[:MAX_TOOLS]))


@lru_cache(maxsize=512)
def _together(found: tuple[OfferedTools | None, ...]) -> OfferedTools | None:
    names = tuple(name for one in found if one for name in one.names)[:MAX_TOOLS]
    return OfferedTools(names, hash64(compact([one.hash for one in found if one]))) if names else None


@remembered(512)
def _offered_in(text: str) -> OfferedTools | None:
    """A program offers the same tools with every call."""
    value = parse(text)
    return None if isinstance(value, str) else _offered(value)


def _offered(value: Any) -> OfferedTools | None:
    names = tuple(dict.fromkeys(name for name in _names(value, 0) if name))[:MAX_TOOLS]
    return OfferedTools(names, hash64(compact(value))) if names else None


def _names(value: Any, depth: int) -> Iterator[str]:
    """Of definitions as OpenAI, Anthropic, Gemini, Bedrock and the GenAI conventions write them."""
    if depth > 4:
        return
    if isinstance(value, str):
        value = parse(value)
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _names(item, depth + 1)
    elif isinstance(value, dict):
        if isinstance(value.get("name"), str):
            yield value["name"]
            return
        for inside in (
            "function",
            "functionDeclarations",
            "function_declarations",
            "toolSpec",
            "tools",
            "tool",
            "json_schema",
        ):
            if value.get(inside):
                yield from _names(value[inside], depth + 1)


def tools_in_turn(*patterns: str) -> Computed:
    """The source of definitions that each have an attribute with a number in its key: `llm.tools.{}.tool`."""

    places = [tuple(pattern.format(number) for pattern in patterns) for number in range(MAX_TOOLS)]

    def read(get: Callable[[str], Any]) -> list[Any]:
        found = []
        for keys in places:
            for key in keys:
                if value := get(key):
                    break
            else:
                break
            is_name = isinstance(value, str) and value[:1] != "{"
            found.append({"name": value} if is_name else value)
        return found

    return Computed(read, places[0])


# --------------------------------------------------------------------------- documents and vectors


def documents(value: Any) -> tuple[Document, ...] | None:
    """Ids and scores of documents that were found, in their order; never their texts."""
    if isinstance(value, str):
        value = parse(value)
    if hasattr(value, "value"):
        value = value.value()
    if not isinstance(value, (list, tuple)):
        return None
    found = []
    for item in value[:MAX_DOCUMENTS]:
        if isinstance(item, str):
            item = parse(item)
        if isinstance(item, dict):
            inner = item.get("document")
            item = inner if isinstance(inner, dict) else item
            if "id" not in item:  # OpenLLMetry's results are span events: `db.query.result.id`
                item = {str(key).rpartition(".")[2]: value for key, value in item.items()}
            identity, score = item.get("id"), item.get("score")
            found.append(
                Document(
                    str(identity)[:MAX_TEXT] if isinstance(identity, (str, int)) else "",
                    _score(score),
                )
            )
    return tuple(found) or None


def _score(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= MAX_SCORE else None


def vector_length(key: str) -> Computed:
    """The source of the number of dimensions in an attribute that holds a vector."""

    def read(get: Callable[[str], Any]) -> int | None:
        vector = get(key)
        if isinstance(vector, str):
            return vector.count(",") + 1 if vector[:1] == "[" and len(vector) > 2 else None
        return len(vector) if isinstance(vector, (list, tuple)) and vector else None

    return Computed(read, (key,))
