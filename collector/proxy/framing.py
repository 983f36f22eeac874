"""Where one event of a stream ends and the next begins, however the bytes were cut on the way.

An event's time is that of the piece in which its first byte came. Each framing takes the decoded pieces and gives
(time, name, data); the name is "" where the framing has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from collector.proxy.decoding import Pieces

MAX_EVENT = 4 << 20
"""Bytes of one event; what is longer is not read as events any more."""

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
    if data:
        yield began, name, b"\n".join(data)


def json_lines(pieces: Pieces) -> Events:
    """One JSON document a line."""
    for at, line in _lines(pieces, bare_cr=False):
        if line.strip():
            yield at, "", line


def json_array(pieces: Pieces) -> Events:
    """The elements of one JSON array, each when it began; Gemini streams so unless asked for events."""
    depth, in_text, escaped = 0, False, False
    element, began = bytearray(), 0
    for at, piece in pieces:
        for byte in piece:
            if depth >= 2 or (depth == 1 and byte == 0x7B):
                if not element:
                    began = at
                element.append(byte)
                if len(element) > MAX_EVENT:
                    raise EventTooLongError
            if in_text:
                if escaped:
                    escaped = False
                elif byte == 0x5C:
                    escaped = True
                elif byte == 0x22:
                    in_text = False
            elif byte == 0x22:
                in_text = True
            elif byte in (0x5B, 0x7B):
                depth += 1
            elif byte in (0x5D, 0x7D):
                depth -= 1
                if depth == 1 and element:
                    yield began, "", bytes(element)
                    element.clear()


FRAMINGS: dict[str, Callable[[Pieces], Events]] = {
    "text/event-stream": server_sent_events,
    "application/x-ndjson": json_lines,
    "application/ndjson": json_lines,
    "application/jsonl": json_lines,
    "application/stream+json": json_lines,
}
"""By media type of the response."""
