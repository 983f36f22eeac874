"""Requests changed in a way that keeps most of them whole: what is broken everywhere is refused at the first byte."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

from collector.intake.inflate import inflate
from collector.otlp import Signal
from collector.otlp.status import JSON, PROTOBUF
from collector.otlp.wire import LENGTH_DELIMITED, WireError, fields, nested, varint
from tests.fuzz.cases import GRPC, PACKERS, Case

CONTENT_TYPES = [PROTOBUF, JSON, GRPC, f"{JSON}; charset=utf-8", "Application/X-Protobuf", "text/plain", ""]
ENCODINGS = [*PACKERS, "x-gzip", "none", "br", "gzip, gzip", "\x7f"]
MOST_BYTES = 200_000
"""Larger than this is not made: it would only be slow."""

FIELDS = [*range(1, 17), 19, 100, 1000, 1004, 1005, 2**29 - 1]
"""Declared ones, the two that a journal's requests have, and such as nobody declares."""
COUNTS = [2, 3, 4, 6, 7, 20, 21, 50]
"""Among them the limits that `TIGHT` sets, and one more."""
NUMBERS = [0, 1, 2, 3, 127, 128, 255, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
TEXTS = [
    *(
        "",
        " ",
        "0",
        "-1",
        "1e999",
        "NaN",
        "Infinity",
        "null",
        "true",
        "[]",
        "{}",
        "[{}]",
        '{"role": 1}',
        "[[[[",
    ),
    *('{"a":', '"', "\\ud83d", "\0", "\u2028", "\ufeff", "é" * 200, "9" * 30, "9" * 5000, "x" * 3000),
    *("k" * size for size in (63, 64, 65, 255, 256, 257, 899, 900, 901)),
    *(
        "LLM",
        "TOOL",
        "chat",
        "execute_tool",
        "gen_ai.choice",
        "sk-" + "a" * 48,
        "user@example.com",
        "[1]" * 300,
    ),
    *(
        '[{"role": "user", "content": [{"type": "text", "text": null}]}]',
        '{"content": {"content": {"content": 3}}}',
    ),
    *(
        "[" * 300 + "]" * 300,
        '{"a":' * 300 + "1" + "}" * 300,
        "-9223372036854775809",
        "0x10",
        "1_000",
        "१२३",
        "\u0660",
    ),
]
JSON_VALUES: list[Any] = [
    *(None, True, False, [], {}, "", 0.5, 1e300, math.nan, math.inf, -1, 10**400, [[]], {"": {}}, [None]),
    *NUMBERS,
    *TEXTS,
    *({"stringValue": 1}, {"intValue": "x"}, {"arrayValue": {"values": [None, {}, {"kvlistValue": {}}]}}),
    *(
        {"kvlistValue": {"values": [{"key": "k"}, {"value": {}}]}},
        {"bytesValue": "_-="},
        {"doubleValue": "1"},
    ),
]
DEEP = 20


def mutated(case: Case, others: Sequence[Case], chance: Random) -> Case:
    """The case with one to four changes; parts may come from the others."""
    if chance.random() < 0.03:
        case = replace(case, content_type=chance.choice(CONTENT_TYPES))
    if chance.random() < 0.03:
        case = replace(case, signal=chance.choice([*Signal]))
    if chance.random() < 0.05:
        case = replace(case, encoding=chance.choice(ENCODINGS))
        if chance.random() < 0.5:
            return case.packed(case.body)
    if chance.random() < 0.05:  # in its encoding, where there is one
        more = chance.choice((case.body, bytes(8), b""))  # such as another member of gzip
        return replace(case, body=case.body + more if more else _bytes_changed(case.body, chance))
    try:
        body = inflate(case.encoding, case.body, MOST_BYTES)
    except ValueError:
        body = case.body
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        other = chance.choice(others).body
        change = _json_changed if case.is_json else _protobuf_changed
        body = change(body, other, chance) if chance.random() < 0.9 else _bytes_changed(body, chance)
    return case.packed(body[:MOST_BYTES])


def _bytes_changed(body: bytes, chance: Random) -> bytes:
    at = chance.randint(0, len(body))
    size = chance.choice((1, 1, 1, 2, 4, 8, 50))
    how = chance.randrange(5)
    if how == 0:
        return body[:at] + chance.randbytes(size) + body[at + size :]
    if how == 1:
        return body[:at] + body[at + size :]
    if how == 2:
        return body[:at] + chance.randbytes(size) + body[at:]
    if how == 3:
        return body[:at]
    return body[:at] + body[at : at + size] * 3 + body[at + size :]


# --------------------------------------------------------------------------- protobuf


def _protobuf_changed(body: bytes, other: bytes, chance: Random) -> bytes:
    """One field changed, somewhere within messages in messages."""
    try:
        parts = list(fields(body, 0, len(body)))
    except WireError:
        return _bytes_changed(body, chance)
    if not parts:
        return _any_field(chance, other)
    place = chance.randrange(len(parts))
    number, wire_type, tag_at, value_at, end = parts[place]
    inner = body[value_at:end]
    if chance.random() < 0.02:
        chance.shuffle(parts)
        return b"".join(body[tag_at:end] for _, _, tag_at, _, end in parts)
    if wire_type == LENGTH_DELIMITED and inner and chance.random() < 0.85:
        changed = nested(number, _inside(inner, other, chance))
    else:
        changed = _field_changed(body, parts, place, other, chance)
    return body[:tag_at] + changed + body[end:]


def _inside(inner: bytes, other: bytes, chance: Random) -> bytes:
    """The value of a field changed: as a message if it may be one, else as a text."""
    try:
        list(fields(inner, 0, len(inner)))
        is_message = not inner.isascii() or not inner.decode().isprintable()
    except ValueError:
        is_message = False
    if is_message:
        return _protobuf_changed(inner, other, chance)
    return _text_changed(inner, chance)


def _text_changed(text: bytes, chance: Random) -> bytes:
    """A text within a request, which may be JSON by itself."""
    if text[:1] in (b"{", b"[") and chance.random() < 0.8:
        return _json_changed(text, b"", chance)
    if chance.random() < 0.5:
        return chance.choice(TEXTS).encode(errors="surrogatepass")
    return _bytes_changed(text, chance)


def _field_changed(
    body: bytes, parts: Sequence[tuple[int, int, int, int, int]], place: int, other: bytes, chance: Random
) -> bytes:
    number, wire_type, tag_at, value_at, end = parts[place]
    whole, value = body[tag_at:end], body[value_at:end]
    neighbour = parts[chance.randrange(len(parts))]
    choices: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: whole * chance.choice(COUNTS),
        lambda: whole + body[neighbour[2] : neighbour[4]],
        lambda: whole + _any_field(chance, other),
        lambda: varint(chance.randrange(1, 20) << 3 | wire_type) + body[tag_at + 1 : end],
        lambda: _with_value(number, chance),
        lambda: nested(number, _any_value(chance)),
        lambda: nested(number, value, value),
        lambda: nested(number, whole),
        lambda: nested(number, value, _any_value(chance)),
        lambda: _in_two(number, value, chance),
        lambda: _as_group(number, chance.choice((b"", value, whole)), chance),
        lambda: nested(number, *(varint(chance.choice(NUMBERS)) for _ in range(3))),
        lambda: (
            _longer(number << 3 | wire_type)
            + (varint(len(value)) if wire_type == LENGTH_DELIMITED else b"")
            + value
        ),
        lambda: varint(number << 3 | LENGTH_DELIMITED) + _longer(len(value)) + value,
        lambda: varint(number << 3 | LENGTH_DELIMITED) + varint(chance.choice(NUMBERS)) + value,
    ]
    return chance.choice(choices)()


def _in_two(number: int, value: bytes, chance: Random) -> bytes:
    """A field given twice, which protobuf merges: between two parts of it, or anywhere."""
    try:
        ends = [0, *(end for *_, end in fields(value, 0, len(value)))]
    except WireError:
        ends = [0]
    at = chance.choice(ends) if chance.random() < 0.7 else chance.randint(0, len(value))
    return nested(number, value[:at]) + nested(number, value[at:])


def _as_group(number: int, value: bytes, chance: Random) -> bytes:
    """As protobuf's first version wrote messages: between two tags."""
    end = number if chance.random() < 0.9 else number + 1
    return varint(number << 3 | 3) + value + varint(end << 3 | 4)


def _longer(number: int) -> bytes:
    """A number with a byte more than it needs."""
    encoded = varint(number)
    return encoded[:-1] + bytes((encoded[-1] | 128, 0))


def _with_value(number: int, chance: Random) -> bytes:
    wire_type = chance.choice((0, 1, 2, 3, 5))
    if wire_type == 3:
        return _as_group(number, chance.choice((b"", b"\x08\x01", nested(1, b"text"))), chance)
    if wire_type == 0:
        return varint(number << 3) + varint(chance.choice(NUMBERS))
    if wire_type == LENGTH_DELIMITED:
        return nested(number, chance.choice(TEXTS).encode(errors="surrogatepass"))
    size = 8 if wire_type == 1 else 4
    return varint(number << 3 | wire_type) + chance.choice(
        (bytes(size), b"\xff" * size, chance.randbytes(size), (1 << (size * 8 - 1)).to_bytes(size, "little"))
    )


def _any_field(chance: Random, other: bytes) -> bytes:
    """A field of another request, or any."""
    if chance.random() < 0.5:
        try:
            whole = other
            for _ in range(chance.randrange(5)):
                parts = list(fields(whole, 0, len(whole)))
                _, wire_type, tag_at, value_at, end = parts[chance.randrange(len(parts))]
                if wire_type != LENGTH_DELIMITED:
                    return whole[tag_at:end]
                whole, field = whole[value_at:end], whole[tag_at:end]
            return field
        except (WireError, ValueError, UnboundLocalError):
            pass
    return _with_value(chance.choice(FIELDS), chance)


def _any_value(chance: Random, depth: int = 0) -> bytes:
    """An AnyValue, or a KeyValue with one."""
    kind = chance.randrange(1, 9)
    if kind in (2, 3):
        return varint(kind << 3) + varint(chance.choice(NUMBERS))
    if kind == 4:
        return b"\x21" + chance.choice((bytes(8), b"\xff" * 8, b"\0\0\0\0\0\0\xf0\x7f", chance.randbytes(8)))
    if kind in (5, 6) and depth < DEEP:
        inner = _any_value(chance, depth + chance.choice((1, 1, 5)))
        pair = inner if kind == 5 else nested(1, b"key") + nested(2, inner)
        return nested(kind, nested(1, pair) * chance.choice((1, 1, 2)))
    if kind == 8:
        return nested(1, chance.choice(TEXTS).encode(errors="surrogatepass")) + nested(2, nested(1, b"text"))
    return nested(kind if kind in (1, 7) else 1, chance.choice(TEXTS).encode(errors="surrogatepass"))


# --------------------------------------------------------------------------- JSON


def _json_changed(body: bytes, other: bytes, chance: Random) -> bytes:
    """One value changed, somewhere within lists and objects, or within a text that is JSON by itself."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return _bytes_changed(body, chance)
    top: list[Any] = [document]
    inside: Any = top
    at: Any = 0
    while isinstance(inside[at], (dict, list)) and inside[at] and chance.random() < 0.9:
        inside = inside[at]
        at = chance.choice(list(inside)) if isinstance(inside, dict) else chance.randrange(len(inside))
    _change(inside, at, other, chance)
    if not top:
        return b""
    try:
        return json.dumps(top[0], ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
    except RecursionError:
        return body


def _change(inside: Any, at: Any, other: bytes, chance: Random) -> None:
    found = inside[at]
    how = chance.randrange(8)
    if isinstance(found, str) and how > 3:
        inside[at] = _text_changed(found.encode(errors="surrogatepass"), chance).decode(errors="replace")
    elif how == 0:
        del inside[at]
    elif how == 1 and isinstance(inside, list):
        inside += [found] * chance.choice((1, 2, 50))
    elif how == 2 and isinstance(inside, dict):
        inside[chance.choice([*inside, "new", "values", "key", "attributes"])] = inside.pop(at)
    elif how == 3:
        inside[at] = (
            [found] if chance.random() < 0.5 else {chance.choice(("values", "kvlistValue", "a")): found}
        )
    elif how == 4:
        with suppress(ValueError, RecursionError):
            inside[at] = json.loads(other)
    elif how == 5:
        for _ in range(chance.choice((5, DEEP, 70))):
            found = {"arrayValue": {"values": [found]}}
        inside[at] = found
    else:
        inside[at] = chance.choice(JSON_VALUES)
