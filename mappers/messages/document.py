"""Structured values inside texts: JSON first, then what Python's `repr` wrote, never code."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar

import orjson

MAX_LITERAL = 32_768
"""Longest text, in characters, that is tried as a Python literal."""
MAX_DOCUMENT = 4_194_304
"""Longest text, in characters, that is tried as JSON."""

MAX_REMEMBERED = 16_384
"""Longest text, in characters, that is remembered with what was read from it."""

T = TypeVar("T")

_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def parse(text: str) -> Any:
    """The mapping, list or quoted text that a text holds; the text itself if it holds none.

    Numbers, booleans and null stay text: a tool that answers "42" answered with a text. What is returned is shared:
    it must not be changed.
    """
    head = text.lstrip()[:1]
    if not head or head not in '{["(' or len(text) > MAX_DOCUMENT:
        return text
    if head != "(":
        try:
            return _loads(text)
        except orjson.JSONDecodeError:
            pass
    return text if head == '"' else _literal(text)


def unquoted(text: str) -> str:
    """The mapping, in JSON, that a text in quotes holds, as OpenInference's AI SDK package writes arguments; else the
    text itself."""
    if not text.startswith('"{'):
        return text
    inner = parse(text)
    return inner if isinstance(inner, str) and isinstance(parse(inner), dict) else text


# Several fields stand in one document, and each asks for it: id, requests and text of an answer, one after the other.
_loads = lru_cache(maxsize=4)(orjson.loads)


_MESSAGE = re.compile(
    r"""content=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"(?:$| (?:additional_kwargs|response_metadata|name|id|tool_call_id)=)",
    re.DOTALL,
)


def content_in(text: str) -> str:
    """What a message of LangChain's says that was written by `str`: `content='18C' name='get_weather'
    tool_call_id='…'`; any other text as it is."""
    if not text.startswith("content=") or len(text) > MAX_LITERAL:
        return text
    found = _MESSAGE.match(text)
    said = _literal(f"[{found[1]}]") if found else text
    return said[0] if isinstance(said, list) else text


def remembered(most: int) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """Decorates a function of a text whose texts come again and again: what it gave for the last `most` of them is
    kept, and must not be changed. Long texts are read each time, lest whoever sends them fills the memory."""

    def decorate(function: Callable[[str], T]) -> Callable[[str], T]:
        known = lru_cache(maxsize=most)(function)

        def read(text: str) -> T:
            return known(text) if len(text) <= MAX_REMEMBERED else function(text)

        return read

    return decorate


def _literal(text: str) -> Any:
    """`ast.literal_eval` builds literals only; it can still exhaust the stack or warn, hence the guards."""
    if len(text) > MAX_LITERAL:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, (dict, list, tuple)) else text


def member(value: Any, path: tuple[str | int, ...]) -> Any:
    """What stands at the path inside nested mappings and lists; None if nothing does."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, (list, tuple)) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def compact(value: Any) -> bytes:
    """Canonical JSON: keys sorted, no white space. Equal values give equal bytes."""
    try:
        return orjson.dumps(value, option=_SORTED)
    except (orjson.JSONEncodeError, TypeError):
        return _compact_odd(value)


def _compact_odd(value: Any) -> bytes:
    """For what orjson refuses: integers beyond 64 bits, lone surrogates, sets, nesting beyond its limit."""
    try:
        return json.dumps(value, sort_keys=True, default=str, separators=(",", ":")).encode(errors="replace")
    except (TypeError, ValueError, RecursionError):
        return str(type(value)).encode()


def written(content: Any) -> str:
    """Content as one text: texts as they are, anything else as canonical JSON, nothing as ""."""
    return content if isinstance(content, str) else compact(content).decode() if content is not None else ""


def hash64(data: bytes) -> int:
    """A 64-bit hash that is the same in every process; never 0, which says "not captured"."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") or 1
