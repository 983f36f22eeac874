"""The body of a JSON request: read, whatever exporters make of JSON, within limits that keep its reading cheap."""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from typing import Any

import orjson

from collector.otlp.check import NotOtlpError
from collector.otlp.json.fields import Document, kind_of
from collector.otlp.limits import Limits, TooManyError

_SURROGATES = re.compile("[\ud800-\udfff]")
_TEXTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRETCH = re.compile(rb'(?:[^"]*"[^"\\]*(?:\\.[^"\\]*)*"){1,4096}', re.DOTALL)
_STRUCTURE = b"{[,"
_BRACKETS_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))

LOOKED_THROUGH = 16
"""One of so many requests is looked through for keys that are given twice: that would take a sixth of reading each, and
who writes such does so in all."""


def read(body: bytes, limits: Limits) -> Document:
    """The object that a body is; an empty one if there is nothing in it.

    Raises:
        NotOtlpError: the body is not JSON, not an object, or too deep.
        TooManyError: it has more values than may be read.
    """
    _count_values(body, limits.json_values)
    document = _parse(body)
    if _is_deeper(body, document, limits.json_depth):
        raise NotOtlpError(f"the body is nested too deep: more than {limits.json_depth} levels")
    if not isinstance(document, dict):
        raise NotOtlpError(f"the body must be a JSON object, not {kind_of(document)}")
    return document


def is_looked_through(body: bytes) -> bool:
    """Whether it is the turn of this request, which some of its bytes say: so many that each trace id has one."""
    return zlib.crc32(body[::31]) % LOOKED_THROUGH == 0


def keys_given_twice(body: bytes, document: Any) -> int:
    """How many keys of objects were given again, of which parsers tell nothing.

    What was parsed is written down: it has as many bytes as the body, or, where numbers, escapes and spaces are
    written in another way, as many keys, unless some are gone. Keys are told by what follows them, also in texts, which
    hold the same in both; not where the body has spaces before colons. Only then is the body read again, key by key.
    """
    try:
        written = orjson.dumps(document)
    except orjson.JSONEncodeError:  # a number that only the other parser takes
        return 0
    if len(written) == len(body) or _keys(body) <= _keys(written):
        return 0
    twice = 0

    def read(pairs: list[tuple[str, Any]]) -> Document:
        nonlocal twice
        found = dict(pairs)
        twice += len(pairs) - len(found)
        return found

    with contextlib.suppress(ValueError, RecursionError):
        json.loads(body.decode("utf-8-sig", "replace"), strict=False, object_pairs_hook=read)
    return twice


def _keys(text: bytes) -> int:
    """How often something that looks like a key, or like one within a text, is in it."""
    return text.count(b'":') + text.count(b"\\u0022:")


def _count_values(body: bytes, limit: int) -> None:
    """Raises: TooManyError, before the parser makes a hundred bytes of every two."""
    if len(body) <= limit:
        return
    if sum(body.count(mark) for mark in _STRUCTURE) > limit:
        # What stands in texts does not count: prompts hold JSON, too. A stretch at a time, to stop in time.
        count = at = 0
        while at < len(body):
            stretch = _STRETCH.match(body, at)
            end = stretch.end() if stretch else len(body)
            bare = _TEXTS.sub(b"", body[at:end])
            count += sum(bare.count(mark) for mark in _STRUCTURE)
            if count > limit:
                raise TooManyError(f"more than {limit} JSON values in one request")
            at = end


def _is_deeper(body: bytes, document: Any, levels: int) -> bool:
    """Whether objects and lists lie deeper within each other than that.

    Brackets alone say so as a rule, at a tenth of what looking through the document costs: each round takes away those
    with nothing between them. Where texts hold some too, the document itself is looked through. Texts made to hide
    what is deep gain nothing: parsers end at a thousand levels, and values at `Limits.value_depth`.
    """
    brackets = body.translate(_BRACKETS_ALIKE, _NO_BRACKETS)
    for _ in range(levels):
        outer = brackets.replace(b"[]", b"")
        if not outer:
            return False
        if len(outer) == len(brackets):
            break
        brackets = outer
    level: list[Any] = [document] if isinstance(document, (dict, list)) else []
    for _ in range(levels):
        parts = (part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole))
        level = [part for part in parts if isinstance(part, (dict, list))]
    return bool(level)


def _parse(body: bytes) -> Any:
    """Raises: NotOtlpError."""
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    # Slower, and takes what exporters really send: a byte order mark, bare NaN, half of a surrogate pair.
    try:
        text = body.decode("utf-8-sig")
        document = json.loads(text, strict=False)
        return _repaired(document) if "\\u" in text else document
    except UnicodeDecodeError:
        raise NotOtlpError("the body is not UTF-8; is it protobuf sent as application/json?") from None
    except RecursionError:
        raise NotOtlpError("the body is nested too deep") from None
    except ValueError as error:
        raise NotOtlpError(f"the body is not JSON: {error}") from None


def _repaired(document: Any) -> Any:
    if isinstance(document, str):
        return _SURROGATES.sub("�", document)
    if isinstance(document, list):
        return [_repaired(item) for item in document]
    if isinstance(document, dict):
        return {_repaired(key): _repaired(item) for key, item in document.items()}
    return document
