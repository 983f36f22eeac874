"""Where one event of a stream ends and the next begins, however the bytes were cut on the way.

An event's time is that of the piece in which its first byte came. Each framing takes the decoded pieces and gives
(time, name, data); the name is "" where the framing has none.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator

import orjson

from collector.proxy.decoding import Pieces

MAX_EVENT = 4 << 20
"""Bytes of one event; what is longer is not read as events any more."""

EXCEPTION = "exception:"
"""Before the type of an error that comes as an event of Amazon's framing."""

_STRUCTURE = re.compile(rb'["\\\[\]{}]')

Events = Iterator[tuple[int, str, bytes]]
BOM = b"\xef\xbb\xbf"


class EventTooLongError(ValueError):
    """An event without an end in sight."""


def _lines(pieces: Pieces, *, bare_cr: bool) -> Iterator[tuple[int, bytes]]:
    """(time, line without its end). A last line without an end is given too.

    Lines end with LF, CRLF and, for `bare_cr`, CR; a CR at the end of a piece waits for what follows it.
    """
    rest, began = b"", 0
    for at, piece in pieces:
        if not rest:
            began = at
        block = rest + piece
        held = b""
        if bare_cr:
            if block.endswith(b"\r"):
                block, held = block[:-1], b"\r"
            if b"\r" in block:
                block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, tail = block.split(b"\n")
        for line in whole:
            yield began, line if bare_cr else line.removesuffix(b"\r")
            began = at
        rest = tail + held
        if len(rest) > MAX_EVENT:
            raise EventTooLongError
    if rest:
        yield began, rest.rstrip(b"\r")


def server_sent_events(pieces: Pieces) -> Events:
    """Server-sent events (WHATWG HTML, 9.2). One that the end of the stream cuts off is given as well: proxies
    and servers leave the last blank line out."""
    name, began = "", 0
    data: list[bytes] = []
    first = True
    for at, line in _lines(pieces, bare_cr=True):
        if first:
            line, first = line.removeprefix(BOM), False
        if not line:
            if data:
                yield began, name, b"\n".join(data)
            name, data = "", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            if not data and not name:
                began = at
            data.append(value)
        elif field == b"event":
            if not data:
                began = at
            name = value.decode("utf-8", "replace")
        elif field == b"error" and not data:  # llama.cpp, of some versions, tells so of what went wrong
            name, began = "error", at
            data.append(value)
    if data:
        yield began, name, b"\n".join(data)


def json_lines(pieces: Pieces) -> Events:
    """One JSON document a line."""
    for at, line in _lines(pieces, bare_cr=False):
        if line.strip():
            yield at, "", line


def json_array(pieces: Pieces) -> Events:
    """The elements of one JSON array, objects, each when it began; Gemini streams so unless asked for events. Only the
    marks of JSON's structure are looked at: media within are long."""
    depth, in_text, skipped = 0, False, 0
    element, began, is_open = bytearray(), 0, False
    for at, piece in pieces:
        start = 0
        for mark in _STRUCTURE.finditer(piece):
            place, byte = mark.start(), mark[0]
            if place < skipped:  # it is escaped
                continue
            if in_text:
                if byte == b"\\":
                    skipped = place + 2
                elif byte == b'"':
                    in_text = False
            elif byte == b'"':
                in_text = True
            elif byte in b"[{":
                depth += 1
                if depth == 2 and byte == b"{":
                    is_open, began, start = True, at, place
            elif byte in b"]}":
                depth -= 1
                if depth == 1 and is_open:
                    yield began, "", bytes(element + piece[start : place + 1])
                    element.clear()
                    is_open = False
        skipped = max(0, skipped - len(piece))
        if is_open:
            element += piece[start:]
            if len(element) > MAX_EVENT:
                raise EventTooLongError


def amazon_event_stream(pieces: Pieces) -> Events:
    """Amazon's event stream encoding (AWS SDK specification, `application/vnd.amazon.eventstream`): lengths of the
    message and its headers, a checksum of both, headers, payload, a checksum of all; the name is `:event-type`.

    Raises:
        ValueError: a checksum is wrong, and so is everything after it.
    """
    rest, began = bytearray(), 0
    for at, piece in pieces:
        if not rest:
            began = at
        rest += piece
        while len(rest) >= _PRELUDE:
            length = int.from_bytes(rest[:4])
            if zlib.crc32(rest[:8]) != int.from_bytes(rest[8:12]):
                raise ValueError("the checksum of a message's lengths is wrong")
            if length > MAX_EVENT:
                raise EventTooLongError
            if len(rest) < length:
                break
            message = bytes(rest[:length])
            del rest[:length]
            if length < _PRELUDE + 4 or zlib.crc32(message[:-4]) != int.from_bytes(message[-4:]):
                raise ValueError("the checksum of a message is wrong")
            headers_end = _PRELUDE + int.from_bytes(message[4:8])
            headers = _amazon_headers(message[_PRELUDE:headers_end])
            payload = message[headers_end:-4]
            kind = headers.get(":message-type", "event")
            if kind == "event":
                yield began, headers.get(":event-type", ""), payload
            elif kind == "exception":
                yield began, EXCEPTION + headers.get(":exception-type", ""), payload
            else:
                told = {"message": headers.get(":error-message", "")}
                yield began, EXCEPTION + headers.get(":error-code", "error"), orjson.dumps(told)
            began = at


_PRELUDE = 12
_TEXT_HEADER = 7
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; types 6 and 7, bytes and text, say how many."""


def _amazon_headers(raw: bytes) -> dict[str, str]:
    """The headers whose values are texts."""
    found: dict[str, str] = {}
    at = 0
    while at < len(raw):
        name_end = at + 1 + raw[at]
        name = raw[at + 1 : name_end].decode("utf-8", "replace")
        type_ = raw[name_end]
        start = name_end + 1
        if type_ in _SIZES:
            at = start + _SIZES[type_]
            continue
        at = start + 2 + int.from_bytes(raw[start : start + 2])
        if type_ == _TEXT_HEADER:
            found[name] = raw[start + 2 : at].decode("utf-8", "replace")
    return found


FRAMINGS: dict[str, Callable[[Pieces], Events]] = {
    "text/event-stream": server_sent_events,
    "application/x-ndjson": json_lines,
    "application/ndjson": json_lines,
    "application/jsonl": json_lines,
    "application/stream+json": json_lines,
    "application/vnd.amazon.eventstream": amazon_event_stream,
}
"""By media type of the response."""
